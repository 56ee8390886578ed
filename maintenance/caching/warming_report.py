"""What a warming run has to say."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from maintenance.caching.warmers import Warmer
from maintenance.core.findings import Finding, Severity
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.redaction import redact
from maintenance.core.reports import FollowUp, Report, Sample, Table
from maintenance.core.wording import counted, listed, seconds_in_words


@dataclass(slots=True)
class WarmerResult:
    """One warmer in one run. ``failure`` is empty where it did its work; the old value stays
    otherwise. ``stored_bytes`` is ``None`` where the backend cannot tell, ``reads`` where nobody
    counts lookups. ``earlier`` is what an earlier attempt of this run made of it, ``refusal`` why
    nothing may be written on the server at all.
    """

    warmer: Warmer
    reads: int | None = None
    earlier: Outcome | None = None
    refusal: str = ""
    is_due: bool = True
    seconds_left: float = 0.0
    keys_looked_at: int = 0
    keys_warm_before: int = 0
    keys_written: int = 0
    keys_refused: int = 0
    first_refusal: str = ""
    keys_present_after: int = 0
    stored_bytes: int | None = 0
    compute_seconds: float = 0.0
    duration_seconds: float = 0.0
    failure: str = ""
    remedy: str = ""
    prefix: str = ""
    page_failures: dict[str, str] = field(default_factory=dict)
    varies_on: set[str] = field(default_factory=set)

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


def build_report(
    name: str,
    dry_run: bool,
    results: Sequence[WarmerResult],
    prefixes: Mapping[str, str] | None = None,
    follow_up: FollowUp | None = None,
) -> Report:
    """Turn the results into the report. ``prefixes`` are those of the warmers, for the next run."""
    return Report(
        title=f"Warming of {name}",
        summary=_summary(name, dry_run, results),
        findings=(
            *_refused(name, results),
            *(finding for result in results for finding in _findings(result)),
        ),
        outcomes=tuple(result.earlier or outcome_of(dry_run, result) for result in results),
        tables=(Table.of("Warmers", [_row(result) for result in results]),) if results else (),
        facts={"dry_run": dry_run},
        samples=tuple(
            Sample("warmer_compute_seconds", result.compute_seconds, result.warmer.name)
            for result in results
            if result.compute_seconds and not result.failure
        ),
        state={"prefixes": dict(prefixes or {})},
        follow_up=follow_up,
    )


def _summary(name: str, dry_run: bool, results: Sequence[WarmerResult]) -> str:
    if not results:
        return f'Nothing to do: no warmer is registered for cache "{name}".'
    if results[0].refusal:
        return f"Nothing was warmed: {results[0].refusal}."
    if dry_run:
        due = [result for result in results if result.is_due and not result.failure]
        cold = sum(result.was == "cold" for result in due)
        return f"{counted(len(due), 'warmer')} would run, {cold} on a cold key (dry run)."
    written = sum(result.keys_written for result in results)
    wrote = sum(result.keys_written > 0 for result in results)
    failed = [result.warmer.name for result in results if result.failure]
    earlier = sum(result.earlier is not None for result in results)
    idle = len(results) - wrote - len(failed) - earlier
    parts = []
    if written:
        parts.append(f"{counted(written, 'value')} written by {counted(wrote, 'warmer')}")
    if earlier:
        parts.append(f"{earlier} had done their work in an earlier attempt of this run")
    if idle:
        parts.append(f"{idle} had nothing to do" if parts or failed else _nothing_to_do(idle))
    if failed:
        parts.append(f"failed, with the old value kept: {listed(failed)}")
    text = "; ".join(parts)
    return f"{text[:1].upper()}{text[1:]}."


def _nothing_to_do(warmers: int) -> str:
    return f"nothing to do: every value of {counted(warmers, 'warmer')} is there"


def _refused(name: str, results: Sequence[WarmerResult]) -> Iterator[Finding]:
    if results and results[0].refusal:
        yield Finding(
            code="warming-refused",
            severity=Severity.WARNING,
            subject=name,
            sentence=(
                f"{counted(len(results), 'warmer')} of {name} did not run: {results[0].refusal}."
            ),
            advice="Correct the target, then run this again.",
        )


def _findings(result: WarmerResult) -> Iterator[Finding]:
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
            advice=result.remedy or _remedy(one),
        )
        return
    if result.keys_present_after < result.keys_written:
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
    if result.keys_refused:
        yield Finding(
            code="warmed-values-refused",
            severity=Severity.WARNING,
            subject=one.name,
            sentence=(
                f"{counted(result.keys_refused, 'value')} of {one.name} could not be stored, the"
                f" first one because of {redact(result.first_refusal)}. What was cached under"
                " these keys before stays."
            ),
            evidence={"keys_written": result.keys_written, "keys_refused": result.keys_refused},
            advice="Mend the values, or the server's memory where it says OOM.",
        )
    yield from _page_findings(result)


def _remedy(one: Warmer) -> str:
    if one.is_pages:
        return "Ask for one of its pages as a visitor would, and look into the site's log."
    return f"Run {one.source}() in a shell of the site and mend what it says."


def _page_findings(result: WarmerResult) -> Iterator[Finding]:
    one = result.warmer
    if result.page_failures:
        url, reason = next(iter(result.page_failures.items()))
        yield Finding(
            code="warmed-pages-failed",
            severity=Severity.WARNING,
            subject=one.name,
            sentence=(
                f"{len(result.page_failures):,} of {counted(result.keys_looked_at, 'page')} of"
                f" {one.name} were not stored, the first one, {redact(url)}, because"
                f" {redact(reason)}."
            ),
            evidence={"pages": [redact(url) for url in list(result.page_failures)[:20]]},
            advice="Ask for such a page as a visitor would, and look into the site's log.",
        )
    if result.varies_on:
        names = [_header(name) for name in sorted(result.varies_on)]
        yield Finding(
            code="warmed-page-varies",
            severity=Severity.WARNING,
            subject=one.name,
            sentence=(
                f"Pages of {one.name} vary on {listed(names)}, which the warmer does not send:"
                " visitors who do look for other pages, and find them cold."
            ),
            evidence={"headers": names},
            advice=f"Give warm_view the headers that visitors send: {names[0]} first.",
        )


def _header(meta_name: str) -> str:
    """Return the name of a header from its key in a request's META."""
    return meta_name.removeprefix("HTTP_").replace("_", "-").title()


def outcome_of(dry_run: bool, result: WarmerResult) -> Outcome:
    """Return what one warmer did, or would do."""
    before = {"keys": result.keys_looked_at, "keys_warm": result.keys_warm_before}
    action = Action(
        kind="warm",
        subject=result.warmer.name,
        statement=_statement(result.warmer),
        reason=f"the cache was {result.was}" if result.was != "unknown" else "on schedule",
    )
    if result.refusal:
        return Outcome(action, Verdict.REFUSED, f"Nothing was computed: {result.refusal}.")
    if dry_run and not result.failure:
        return Outcome(action, Verdict.PLANNED, _plan(result), before)
    verdict, sentence = _verdict(result)
    return Outcome(
        action,
        verdict,
        sentence,
        before,
        after={"keys_written": result.keys_written, "stored_bytes": result.stored_bytes},
        duration_seconds=result.duration_seconds,
    )


def _statement(one: Warmer) -> str:
    if one.is_pages:
        return f"GET {one.pages}" if "://" in one.pages else f"GET each page of {one.pages}()"
    key = one.key if one.key is not None else "each key of the result"
    if one.namespace:
        key = f"Namespace({one.namespace!r}).generation(cache).key({key})"
    if one.tags:
        return f"{one.source}() -> tagged_set(cache, {key}, ..., tags={list(one.tags)})"
    return f"{one.source}() -> cache.set({key}, ..., {one.ttl_seconds})"


def _plan(result: WarmerResult) -> str:
    if result.is_due:
        return "Dry run: nothing was computed."
    return f"Dry run: {_not_due(result)}"


def _not_due(result: WarmerResult) -> str:
    if result.seconds_left in (0.0, float("inf")):
        return "its values are there."
    return f"its values stay for another {seconds_in_words(result.seconds_left)}."


def _verdict(result: WarmerResult) -> tuple[Verdict, str]:
    if result.failure:
        text = redact(result.failure)
        return Verdict.FAILED, f"{text[:1].upper()}{text[1:]}."
    if not result.is_due:
        return Verdict.NO_GAIN, f"Nothing was written: {_not_due(result)}"
    if result.keys_written == 0:
        return Verdict.NO_GAIN, "Every value is there; nothing was written."
    if result.keys_present_after < result.keys_written:
        return Verdict.FAILED, "Some values were gone right after they were written."
    if result.page_failures or result.keys_refused:
        lost = len(result.page_failures) + result.keys_refused
        return Verdict.FAILED, f"{counted(result.keys_written, 'value')} written, {lost:,} not."
    cold = result.keys_looked_at - result.keys_warm_before
    return (
        Verdict.WORKED,
        f"{counted(result.keys_written, 'value')} written, {cold:,} of them cold.",
    )


def _row(result: WarmerResult) -> dict[str, Any]:
    return {
        "warmer": result.warmer.name,
        "was": result.was,
        "reads": result.reads,
        "keys_written": result.keys_written,
        "stored_bytes": result.stored_bytes,
        "compute_seconds": result.compute_seconds,
        "duration_seconds": result.duration_seconds,
        "ttl_seconds": None if result.warmer.is_pages else result.warmer.ttl_seconds,
        "failure": redact(result.failure),
    }
