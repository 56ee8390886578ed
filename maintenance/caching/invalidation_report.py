"""What an invalidation has to say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from maintenance.caching.patterns import PatternTally
from maintenance.conf import InvalidationRule
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import counted


@dataclass(slots=True)
class RuleResult:
    """One rule in one run. A tag's value says whether its new version was seen by a second look,
    ``None`` where it was not written. ``unmatchable`` holds patterns and what they would need."""

    name: str
    rule: InvalidationRule
    refusal: str = ""
    patterns: list[PatternTally] = field(default_factory=list)
    tags: dict[str, bool | None] = field(default_factory=dict)
    unmatchable: dict[str, str] = field(default_factory=dict)

    def total(self, count: str) -> int:
        """Return the sum of one count over the patterns."""
        return sum(getattr(tally, count) for tally in self.patterns)


def build_report(name: str, dry_run: bool, results: Sequence[RuleResult]) -> Report:
    """Turn the results into the report."""
    return Report(
        title=f"Invalidation of {name}",
        summary=_summary(name, dry_run, results),
        findings=tuple(finding for result in results for finding in _findings(result, dry_run)),
        outcomes=tuple(outcome for result in results for outcome in _outcomes(result, dry_run)),
        tables=tuple(_tables(results)),
        facts={
            "dry_run": dry_run,
            "bytes_from": "MEMORY USAGE of a sample of the matching keys",
        },
        samples=tuple(
            Sample("invalidated_keys", result.total("removed_keys"), result.name)
            for result in results
        ),
    )


def _summary(name: str, dry_run: bool, results: Sequence[RuleResult]) -> str:
    if not results:
        return f'Nothing to do: no invalidation rule is configured for cache "{name}".'
    chosen = sum(result.total("chosen_keys") for result in results)
    removed = sum(result.total("removed_keys") for result in results)
    tags = sum(len(result.tags) for result in results)
    tagged = f" and {tags} tags" if tags else ""
    if results[0].refusal:
        return f"Nothing was dropped: {results[0].refusal}."
    if dry_run:
        return f"{chosen:,} values{tagged} would be dropped by {counted(len(results), 'rule')} (dry run)."
    if removed == 0 and tags == 0:
        return f"Nothing to drop: no value matches {counted(len(results), 'rule')}."
    return f"{removed:,} values{tagged} dropped by {counted(len(results), 'rule')}."


def _findings(result: RuleResult, dry_run: bool) -> Iterator[Finding]:
    if result.refusal and not dry_run:
        yield Finding(
            code="invalidation-refused",
            severity=Severity.WARNING,
            subject=result.name,
            sentence=f"Rule {result.name} dropped nothing: {result.refusal}.",
            advice="Correct the target, then run this again.",
        )
    for pattern, needs in result.unmatchable.items():
        yield unavailable(
            "invalidation-pattern", f"{result.name}: {pattern}", "matching keys by pattern", needs
        )
    for tally in result.patterns:
        subject = f"{result.name}: {tally.pattern}"
        if tally.idle_time_missing:
            yield unavailable(
                "invalidation-idle-time",
                subject,
                f"the idle time of values ({tally.idle_time_missing}); nothing was dropped, it",
                "an LRU or noeviction policy, or a TTL on these values instead of this rule",
            )
        elif tally.chosen_keys:
            yield _stale(subject, tally, dry_run or bool(result.refusal))


def _stale(subject: str, tally: PatternTally, kept: bool) -> Finding:
    then = "would be dropped" if kept else f"{tally.removed_keys:,} were dropped"
    return Finding(
        code="stale-cache-keys",
        severity=Severity.INFO,
        subject=subject,
        sentence=(
            f'{tally.chosen_keys:,} of {tally.matched_keys:,} values under "{tally.pattern}" are'
            f" stale by their rule; {'they ' if kept else ''}{then}."
        ),
        evidence={
            "matched_keys": tally.matched_keys,
            "stale_keys": tally.chosen_keys,
            "removed_keys": tally.removed_keys,
            "stale_bytes": tally.chosen_bytes,
            "examples": list(tally.examples),
        },
        advice="Run this without dry run to drop them." if kept else "",
    )


def _outcomes(result: RuleResult, dry_run: bool) -> Iterator[Outcome]:
    for tally in result.patterns:
        if tally.chosen_keys == 0:
            continue
        age = result.rule.older_than_seconds
        action = Action(
            kind="invalidate",
            subject=f"{result.name}: {tally.pattern}",
            statement=f"SCAN MATCH {tally.stored} TYPE string; UNLINK <keys>",
            reason=(
                f"idle for more than {age:,.0f} seconds" if age else "the rule drops all of them"
            ),
            predicted={"keys": tally.chosen_keys, "freed_bytes": tally.chosen_bytes},
        )
        yield _unlinked(action, tally, dry_run, result.refusal)
    for tag, verified in result.tags.items():
        action = Action(
            kind="invalidate",
            subject=f"{result.name}: tag {tag}",
            statement=f'invalidate_tag(cache, "{tag}")',
            reason="every value with this tag becomes a miss and leaves by its time-out",
        )
        yield _tagged(action, verified, result.refusal)


def _unlinked(action: Action, tally: PatternTally, dry_run: bool, refusal: str) -> Outcome:
    if dry_run:
        return Outcome(action, Verdict.PLANNED, "Dry run: nothing was dropped.")
    if refusal:
        return Outcome(action, Verdict.REFUSED, refusal)
    sentence = f"{tally.removed_keys:,} values dropped and verified gone"
    if tally.written_again_keys:
        sentence += f", except {tally.written_again_keys:,} that were written again at once"
    return Outcome(
        action,
        Verdict.WORKED if tally.removed_keys else Verdict.NO_GAIN,
        sentence + ".",
        before={"keys": tally.chosen_keys},
        after={"keys": tally.written_again_keys, "freed_bytes": tally.chosen_bytes},
    )


def _tagged(action: Action, verified: bool | None, refusal: str) -> Outcome:
    if verified is None:
        verdict = Verdict.REFUSED if refusal else Verdict.PLANNED
        return Outcome(action, verdict, refusal or "Dry run: nothing was dropped.")
    if verified:
        return Outcome(action, Verdict.WORKED, "A second look saw the new version.")
    return Outcome(action, Verdict.FAILED, "The new version was not there at the second look.")


def _tables(results: Sequence[RuleResult]) -> Iterator[Table]:
    rows: list[dict[str, Any]] = [
        {
            "rule": result.name,
            "pattern": tally.pattern,
            "matched_keys": tally.matched_keys,
            "stale_keys": tally.chosen_keys,
            "removed_keys": tally.removed_keys,
            "stale_bytes": tally.chosen_bytes,
            "longest_batch_seconds": tally.longest_batch_seconds,
        }
        for result in results
        for tally in result.patterns
    ]
    if rows:
        yield Table.of("Patterns", rows)
    examples = [
        {"rule": result.name, "pattern": tally.pattern, "key": key}
        for result in results
        for tally in result.patterns
        for key in tally.examples
    ]
    if examples:
        yield Table.of("Sample of stale keys", examples)
