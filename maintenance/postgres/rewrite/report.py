"""The report of a VACUUM FULL: better ways first, what came back, and what it cost the others."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maintenance.conf import Pacing, Thresholds
from maintenance.core.findings import Finding, Severity, by_seriousness
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted
from maintenance.postgres.repair.harm import Harm, harm_findings
from maintenance.postgres.rewrite.plan import Candidate

TITLE = "VACUUM FULL"


def rewrite_report(
    candidates: Sequence[Candidate],
    outcomes: Sequence[Outcome],
    harm: Harm,
    pacing: Pacing,
    notes: Sequence[Finding],
) -> Report:
    """Say what came of each table; ``notes`` are what to know before.

    Others had to wait for the lock, as it was agreed: that wait is a fact of the report, and a
    finding only beyond what the longest statement here was allowed.
    """
    agreed = with_the_agreed_wait(pacing, outcomes)
    findings = [*notes, *_outcome_findings(outcomes), *harm_findings(harm, agreed)]
    gained = sum(_gained(outcome) for outcome in outcomes)
    return Report(
        title=TITLE,
        summary=_summary(outcomes, gained),
        findings=tuple(by_seriousness(findings)),
        outcomes=tuple(outcomes),
        tables=(_table(candidates),),
        facts={"gained_bytes": gained, **harm.facts},
        samples=_samples(outcomes),
    )


def with_the_agreed_wait(pacing: Pacing, outcomes: Sequence[Outcome]) -> Pacing:
    """Return the pacing with the wait that these locks were agreed to cost."""
    longest = max((o.duration_seconds for o in outcomes), default=0.0)
    return pacing.model_copy(
        update={"blocked_limit_seconds": max(pacing.blocked_limit_seconds, longest + 1)}
    )


def better_ways(
    candidates: Sequence[Candidate],
    tools: Sequence[str],
    server_major: int,
    thresholds: Thresholds,
) -> Iterator[Finding]:
    """Yield what does the same with a lock of moments, for tables that are worth it."""
    for candidate in candidates:
        yield from _rebuild_instead(candidate, thresholds)
    worth = [c for c in candidates if c.gain_bytes]
    if not worth:
        return
    if server_major >= 19:
        commands = tuple(f"REPACK (CONCURRENTLY) {c.qualified_name};" for c in worth)
        how = "REPACK (CONCURRENTLY) of this server"
    elif tools:
        how = " or ".join(tools)
        commands = tuple(_command(tool, c) for tool in tools for c in worth)
    else:
        commands = ()
        how = "the extension pg_repack or pg_squeeze, neither of which is installed"
    yield Finding(
        code="rewrite-without-lock",
        severity=Severity.INFO,
        subject=TITLE,
        sentence=f"{how} gives the same space back while the site goes on reading and writing.",
        advice="Take it instead of VACUUM FULL, where the site cannot stand still.",
        commands=commands,
    )


def _rebuild_instead(candidate: Candidate, thresholds: Thresholds) -> Iterator[Finding]:
    """Yield the rebuild of the indexes of a table, where more of it than of its rows is bloat."""
    heap, gain = candidate.gain_bytes or 0, candidate.index_gain_bytes
    if gain <= heap or gain < thresholds.minimum_bloat_bytes:
        return
    bloated = [
        i for i in candidate.indexes if (i.ratio or 0.0) >= thresholds.index_bloat_warning_ratio
    ]
    if not bloated:
        return
    yield Finding(
        code="rewrite-indexes-instead",
        severity=Severity.INFO,
        subject=candidate.qualified_name,
        sentence=(
            f"Of what can be given back of {candidate.qualified_name}, the larger part is in its"
            f" indexes: {bytes_in_words(gain)}, and {bytes_in_words(heap)} in its rows. REINDEX"
            " CONCURRENTLY gives it back while the site goes on reading and writing."
        ),
        evidence={"index_bloat_bytes": gain, "bloat_bytes": heap},
        advice="Rebuild these indexes first (reindex_bloated_indexes does), and look again then.",
        commands=tuple(f"{index.rebuild};" for index in bloated),
    )


def would_wait_findings(holders: Mapping[str, str]) -> Iterator[Finding]:
    """Yield for each table of a dry run who holds a lock on it, for which a run would wait."""
    for subject, who in holders.items():
        yield Finding(
            code="rewrite-would-wait",
            severity=Severity.INFO,
            subject=subject,
            sentence=f"{subject} would wait for its lock at this moment: it is held by {who}.",
            advice="The run gives up after the lock timeout of its target: choose a quieter moment.",
        )


def _command(tool: str, candidate: Candidate) -> str:
    if tool == "pg_repack":
        return f"pg_repack --table={shlex.quote(candidate.qualified_name)}"
    schema, name = (part.replace("'", "''") for part in (candidate.schema, candidate.name))
    return f"SELECT squeeze.squeeze_table('{schema}', '{name}');"


def _outcome_findings(outcomes: Sequence[Outcome]) -> Iterator[Finding]:
    problems = {Verdict.BLOCKED, Verdict.FAILED, Verdict.REFUSED}
    for outcome in outcomes:
        if outcome.verdict in problems:
            failed = outcome.verdict is not Verdict.REFUSED
            yield Finding(
                code=f"rewrite-{outcome.verdict.value}",
                severity=Severity.WARNING if failed else Severity.INFO,
                subject=outcome.action.subject,
                sentence=f"{outcome.action.subject}: {outcome.sentence}",
                evidence=dict(outcome.action.predicted),
            )


def _gained(outcome: Outcome) -> int:
    before, after = outcome.before.get("total_bytes"), outcome.after.get("total_bytes")
    return 0 if before is None or after is None else int(before) - int(after)


def _summary(outcomes: Sequence[Outcome], gained: int) -> str:
    verdicts = [outcome.verdict for outcome in outcomes]
    if Verdict.PLANNED in verdicts:
        planned = [outcome for outcome in outcomes if outcome.verdict is Verdict.PLANNED]
        would = sum(int(one.action.predicted["gain_bytes"] or 0) for one in planned)
        number = len(planned)
        return f"{counted(number, 'table')} would be rewritten, for {bytes_in_words(would)}."
    done = verdicts.count(Verdict.WORKED)
    if not done:
        return f"No table was rewritten: {outcomes[0].sentence}." if outcomes else "Nothing to do."
    return f"{counted(done, 'table')} rewritten; {bytes_in_words(gained)} given back to the disk."


def _table(candidates: Sequence[Candidate]) -> Table:
    return Table.of("Tables before", [_row(candidate) for candidate in candidates])


def _row(candidate: Candidate) -> dict[str, Any]:
    estimate = candidate.bloat.estimate if candidate.bloat else None
    return {
        "table": candidate.qualified_name,
        "heap_bytes": candidate.heap_bytes,
        "toast_bytes": candidate.toast_bytes,
        "index_bytes": candidate.index_bytes,
        "index_bloat_bytes": candidate.index_gain_bytes if candidate.indexes else None,
        "bloat_bytes": candidate.gain_bytes,
        "bloat_ratio": estimate.bloat_ratio if estimate else None,
    }


def _samples(outcomes: Sequence[Outcome]) -> tuple[Sample, ...]:
    """Return how fast this server rewrites, from which the next plan tells the time of a lock.

    An ANALYZE that had to be ended has lasted too long to be counted as part of it.
    """
    worked = [o for o in outcomes if o.verdict is Verdict.WORKED and o.duration_seconds > 0]
    done = [o for o in worked if o.after.get("analyzed", True)]
    if not done:
        return ()
    moved = sum(int(o.before["total_bytes"]) + int(o.after["total_bytes"]) for o in done)
    seconds = sum(o.duration_seconds for o in done)
    return (Sample("rewrite_bytes_per_second", moved / seconds),)
