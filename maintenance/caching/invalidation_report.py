"""What an invalidation has to say."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from maintenance.caching.invalidation_rights import rights_of_rules
from maintenance.caching.patterns import SESSION_KEYS, PatternTally
from maintenance.conf import InvalidationRule
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import counted, listed


@dataclass(slots=True)
class RuleResult:
    """One rule in one run.

    ``groups`` are tags and namespaces by kind and name; the value says whether a second look saw
    the version gone, ``None`` where nothing was written. ``keys_there`` and ``keys_dropped`` count
    the rule's own keys. ``unmatchable`` holds patterns and what they would need.
    """

    name: str
    rule: InvalidationRule
    refusal: str = ""
    patterns: list[PatternTally] = field(default_factory=list)
    groups: dict[tuple[str, str], bool | None] = field(default_factory=dict)
    keys_there: int = 0
    keys_dropped: int = 0
    unmatchable: dict[str, str] = field(default_factory=dict)

    @property
    def stale_keys(self) -> int:
        """Values that the rule calls stale, without those of groups, which nobody counts."""
        return self.keys_there + sum(tally.chosen_keys for tally in self.patterns)

    @property
    def is_unjudged(self) -> bool:
        """Whether nobody can tell how long values of the rule have not been read."""
        return any(tally.idle_time_missing for tally in self.patterns)

    @property
    def removed_keys(self) -> int:
        """Values that are gone."""
        return self.keys_dropped + sum(tally.removed_keys for tally in self.patterns)


def build_report(
    name: str, dry_run: bool, results: Sequence[RuleResult], warmed: Sequence[str] = ()
) -> Report:
    """Turn the results into the report; ``warmed`` are the warmers that run next."""
    rights = rights_of_rules(result.rule for result in results)
    return Report(
        title=f"Invalidation of {name}",
        summary=_summary(name, dry_run, results) + _next(warmed),
        findings=tuple(finding for result in results for finding in _findings(result, dry_run)),
        outcomes=tuple(outcome for result in results for outcome in _outcomes(result, dry_run)),
        tables=tuple(_tables(results)),
        facts={
            "dry_run": dry_run,
            "warmers_asked_for": list(warmed),
            "bytes_from": "MEMORY USAGE of a sample of the matching keys",
            "needs_acl": list(dict.fromkeys(("+ping", "+info", *rights))),
        },
        samples=tuple(
            Sample("invalidated_keys", result.removed_keys, result.name) for result in results
        ),
    )


def _next(warmed: Sequence[str]) -> str:
    if not warmed:
        return ""
    return f" {counted(len(warmed), 'warmer')} will compute anew: {listed(list(warmed))}."


def _summary(name: str, dry_run: bool, results: Sequence[RuleResult]) -> str:
    if not results:
        return f'Nothing to do: no invalidation rule is configured for cache "{name}".'
    stale = sum(result.stale_keys for result in results)
    removed = sum(result.removed_keys for result in results)
    groups = sum(len(result.groups) for result in results)
    grouped = f" and {counted(groups, 'group')}" if groups else ""
    by = f"by {counted(len(results), 'rule')}"
    if results[0].refusal:
        return f"Nothing was dropped: {results[0].refusal}."
    unjudged = sum(result.is_unjudged for result in results)
    if unjudged and not (stale or groups):
        return f"Nothing was dropped: {counted(unjudged, 'rule')} could not be judged."
    if dry_run:
        return f"{counted(stale, 'value')}{grouped} would be dropped {by} (dry run)."
    if removed == 0 and groups == 0:
        return f"Nothing to drop: no value matches {counted(len(results), 'rule')}."
    return f"{counted(removed, 'value')}{grouped} dropped {by}."


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
                "which values nobody reads; nothing was dropped, it",
                f"a TTL on these values instead of this rule, or {tally.idle_time_missing}",
            )
        elif tally.chosen_keys:
            yield _stale(subject, tally, dry_run or bool(result.refusal))
        if tally.session_keys:
            yield _sessions(subject, tally)
        if tally.wrong_types:
            yield _wrong_types(subject, tally)


def _sessions(subject: str, tally: PatternTally) -> Finding:
    count = tally.session_keys
    return Finding(
        code="cache-sessions-kept",
        severity=Severity.WARNING,
        subject=subject,
        sentence=(
            f"{counted(count, 'session')} under this pattern {'is' if count == 1 else 'are'} no cached"
            " value and stayed: without them people are logged out."
        ),
        evidence={"session_keys": count},
        advice=(
            "Name the rule's pattern more narrowly. A pattern that is to drop sessions begins with"
            f" {SESSION_KEYS}."
        ),
    )


def _wrong_types(subject: str, tally: PatternTally) -> Finding:
    kinds = listed([f"{count:,} of type {kind}" for kind, count in tally.wrong_types.most_common()])
    return Finding(
        code="cache-key-of-wrong-type",
        severity=Severity.WARNING,
        subject=subject,
        sentence=(
            f"{counted(tally.wrong_types.total(), 'key')} under this pattern"
            f" {'is' if tally.wrong_types.total() == 1 else 'are'} no cached value ({kinds})"
            " and stayed: something else than the cache writes under its prefix."
        ),
        evidence={
            "keys_by_type": dict(tally.wrong_types),
            "examples": list(tally.wrong_type_examples),
        },
        advice="Give the cache a KEY_PREFIX of its own, or name the rule's pattern more narrowly.",
    )


def _stale(subject: str, tally: PatternTally, kept: bool) -> Finding:
    then = "would be dropped" if kept else f"{tally.removed_keys:,} were dropped"
    spared = f" {tally.kept_keys:,} more are exceptions and stay." if tally.kept_keys else ""
    return Finding(
        code="stale-cache-keys",
        severity=Severity.INFO,
        subject=subject,
        sentence=(
            f'{tally.chosen_keys:,} of {tally.matched_keys:,} values under "{tally.pattern}" are'
            f" stale by their rule; {'they ' if kept else ''}{then}.{spared}"
        ),
        evidence={
            "matched_keys": tally.matched_keys,
            "kept_keys": tally.kept_keys,
            "stale_keys": tally.chosen_keys,
            "removed_keys": tally.removed_keys,
            "vanished_keys": 0 if kept else tally.vanished_keys,
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
    if result.keys_there:
        yield _named_keys(result, dry_run)
    for (kind, name), verified in result.groups.items():
        action = Action(
            kind="invalidate",
            subject=f"{result.name}: {kind} {name}",
            statement=(
                f"invalidate_tag(cache, {name!r})"
                if kind == "tag"
                else f"Namespace({name!r}).invalidate(cache)"
            ),
            reason=f"every value of this {kind} becomes a miss and leaves by its time-out",
        )
        yield _grouped(action, verified, result.refusal)


def _named_keys(result: RuleResult, dry_run: bool) -> Outcome:
    action = Action(
        kind="invalidate",
        subject=f"{result.name}: keys",
        statement=f"cache.delete_many({listed(list(map(repr, result.rule.keys)))})",
        reason="the rule names them",
        predicted={"keys": result.keys_there},
    )
    if dry_run:
        return Outcome(action, Verdict.PLANNED, "Dry run: nothing was dropped.")
    if result.refusal:
        return Outcome(action, Verdict.REFUSED, result.refusal)
    again = result.keys_there - result.keys_dropped
    return Outcome(
        action,
        Verdict.WORKED if result.keys_dropped else Verdict.NO_GAIN,
        f"{counted(result.keys_dropped, 'value')} dropped and verified gone"
        + (f", {again:,} written again at once." if again else "."),
        before={"keys": result.keys_there},
        after={"keys": again},
    )


def _unlinked(action: Action, tally: PatternTally, dry_run: bool, refusal: str) -> Outcome:
    if dry_run:
        return Outcome(action, Verdict.PLANNED, "Dry run: nothing was dropped.")
    if refusal:
        return Outcome(action, Verdict.REFUSED, refusal)
    sentence = f"{counted(tally.removed_keys, 'value')} dropped and verified gone"
    if tally.written_again_keys:
        sentence += f", except {tally.written_again_keys:,} that were written again at once"
    return Outcome(
        action,
        Verdict.WORKED if tally.removed_keys else Verdict.NO_GAIN,
        sentence + ".",
        before={"keys": tally.chosen_keys},
        after={"keys": tally.written_again_keys, "freed_bytes": tally.chosen_bytes},
    )


def _grouped(action: Action, verified: bool | None, refusal: str) -> Outcome:
    if verified is None:
        verdict = Verdict.REFUSED if refusal else Verdict.PLANNED
        return Outcome(action, verdict, refusal or "Dry run: nothing was dropped.")
    if verified:
        return Outcome(action, Verdict.WORKED, "A second look saw that its version is gone.")
    return Outcome(action, Verdict.FAILED, "Its version was still there at the second look.")


def _tables(results: Sequence[RuleResult]) -> Iterator[Table]:
    rows: list[dict[str, Any]] = [
        {
            "rule": result.name,
            "pattern": tally.pattern,
            "matched_keys": tally.matched_keys,
            "kept_keys": tally.kept_keys,
            "session_keys": tally.session_keys,
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
