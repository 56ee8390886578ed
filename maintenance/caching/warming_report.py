"""What a warming run has to say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from maintenance.caching.warmers import Warmer
from maintenance.core.findings import Finding, Severity
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.redaction import redact
from maintenance.core.reports import Report, Sample, Table


@dataclass(slots=True)
class WarmerResult:
    """One warmer in one run. ``failure`` is empty where it did its work; the old value stays
    otherwise. ``stored_bytes`` is ``None`` where the backend cannot tell."""

    warmer: Warmer
    keys_looked_at: int = 0
    keys_warm_before: int = 0
    keys_written: int = 0
    keys_refused: int = 0
    keys_present_after: int = 0
    stored_bytes: int | None = 0
    compute_seconds: float = 0.0
    duration_seconds: float = 0.0
    failure: str = ""

    @property
    def all_warm(self) -> bool:
        """Whether every key that was looked at had a value before."""
        return self.keys_looked_at > 0 and self.keys_warm_before == self.keys_looked_at

    @property
    def was(self) -> str:
        """The state before, in a word."""
        if self.keys_looked_at == 0:
            return "unknown"
        if self.keys_warm_before == 0:
            return "cold"
        return "warm" if self.all_warm else "partly cold"


def build_report(name: str, dry_run: bool, results: Sequence[WarmerResult]) -> Report:
    """Turn the results into the report."""
    return Report(
        title=f"Warming of {name}",
        summary=_summary(name, dry_run, results),
        findings=tuple(_findings(results)),
        outcomes=tuple(_outcome(dry_run, result) for result in results),
        tables=(Table.of("Warmers", [_row(result) for result in results]),) if results else (),
        facts={"dry_run": dry_run},
        samples=tuple(
            Sample("warmer_compute_seconds", result.compute_seconds, result.warmer.name)
            for result in results
            if result.compute_seconds and not result.failure
        ),
    )


def _summary(name: str, dry_run: bool, results: Sequence[WarmerResult]) -> str:
    if not results:
        return f'Nothing to do: no warmer is registered for cache "{name}".'
    if dry_run:
        cold = sum(result.was == "cold" for result in results)
        return f"{len(results)} warmers would run, {cold} of them on a cold key (dry run)."
    written = sum(result.keys_written for result in results)
    failed = [result.warmer.name for result in results if result.failure]
    text = f"{written:,} values written by {len(results) - len(failed)} of {len(results)} warmers"
    if failed:
        text += f"; failed, with the old value kept: {', '.join(failed)}"
    elif written == 0:
        return f"Nothing to do: every value of {len(results)} warmers is there."
    return text + "."


def _findings(results: Sequence[WarmerResult]) -> Iterator[Finding]:
    for result in results:
        one = result.warmer
        if result.failure:
            yield Finding(
                code="warmer-failed",
                severity=Severity.WARNING,
                subject=one.name,
                sentence=(
                    f"Warmer {one.name} wrote nothing: {redact(result.failure)}. What was cached"
                    " before stays until its time-out."
                ),
                evidence={"source": one.source, "compute_seconds": result.compute_seconds},
                advice=f"Run {one.source}() in a shell of the site and mend what it says.",
            )
        elif result.keys_present_after < result.keys_written:
            missing = result.keys_written - result.keys_present_after
            yield Finding(
                code="warmed-values-missing",
                severity=Severity.WARNING,
                subject=one.name,
                sentence=(
                    f"{missing:,} of {result.keys_written:,} values of {one.name} were gone right"
                    " after they were written."
                ),
                evidence={"keys_written": result.keys_written, "keys_refused": result.keys_refused},
                advice="Look at the cache's memory: values that do not fit are evicted at once.",
            )


def _outcome(dry_run: bool, result: WarmerResult) -> Outcome:
    one = result.warmer
    keys = one.key if one.key is not None else "each key of the result"
    action = Action(
        kind="warm",
        subject=one.name,
        statement=f"{one.source}() -> cache.set({keys}, ..., {one.ttl_seconds})",
        reason=f"the cache was {result.was}" if result.was != "unknown" else "on schedule",
    )
    before = {"keys": result.keys_looked_at, "keys_warm": result.keys_warm_before}
    if dry_run:
        return Outcome(action, Verdict.PLANNED, "Dry run: nothing was computed.", before)
    verdict, sentence = _verdict(result)
    return Outcome(
        action,
        verdict,
        sentence,
        before,
        after={"keys_written": result.keys_written, "stored_bytes": result.stored_bytes},
        duration_seconds=result.duration_seconds,
    )


def _verdict(result: WarmerResult) -> tuple[Verdict, str]:
    if result.failure:
        text = redact(result.failure)
        return Verdict.FAILED, f"{text[:1].upper()}{text[1:]}."
    if result.keys_written == 0:
        return Verdict.NO_GAIN, "Every value is there; nothing was written."
    if result.keys_present_after < result.keys_written:
        return Verdict.FAILED, "Some values were gone right after they were written."
    cold = result.keys_looked_at - result.keys_warm_before
    return Verdict.WORKED, f"{result.keys_written:,} values written, {cold:,} of them were cold."


def _row(result: WarmerResult) -> dict[str, Any]:
    return {
        "warmer": result.warmer.name,
        "was": result.was,
        "keys_written": result.keys_written,
        "stored_bytes": result.stored_bytes,
        "compute_seconds": result.compute_seconds,
        "duration_seconds": result.duration_seconds,
        "ttl_seconds": result.warmer.ttl_seconds,
        "failure": redact(result.failure),
    }
