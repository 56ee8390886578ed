"""A publication put into words.

Values are formatted by their names, control characters are written out, long lists are cut at
:data:`ROW_LIMIT` with the number of what was left out.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from maintenance.core.finding_life import FixedFinding, ReportLife
from maintenance.core.findings import Finding, Severity, by_seriousness
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.reports import Report, RunFacts, Table
from maintenance.reports.bars import bars_contents
from maintenance.reports.changes import changes_of
from maintenance.reports.columns import one_line, visible
from maintenance.reports.content import (
    SIGNS,
    Change,
    Column,
    Content,
    Count,
    Fact,
    FindingContent,
    OutcomeContent,
    Section,
    TableContent,
)
from maintenance.reports.formatting import (
    NO_VALUE,
    counted,
    format_seconds,
    format_time,
    format_value,
    has_unit,
    heading,
    headings,
    is_identifier,
)
from maintenance.reports.next_steps import steps_of, whose_step
from maintenance.reports.plots import plot_contents
from maintenance.reports.publication import Publication, counts_of, label_of, tally

#: Rows shown of a table, and findings and outcomes of a report. JSON and CSV hold all.
ROW_LIMIT = 200

_WORDY_LENGTH = 40

_VERDICT_LABELS: Mapping[Verdict, str] = {
    Verdict.PLANNED: "info",
    Verdict.WORKED: "ok",
    Verdict.NO_GAIN: "info",
    Verdict.BLOCKED: "warning",
    Verdict.FAILED: "critical",
    Verdict.REFUSED: "warning",
}


def content_of(publication: Publication) -> Content:
    """Put a publication into words."""
    label = _label(publication.severity, publication.run)
    target = publication.run.target if publication.run else ""
    seen: Counter[str] = Counter()
    return Content(
        title=one_line(publication.title),
        summary=visible(publication.summary),
        label=label,
        sign=SIGNS[label],
        about=_about(publication.run) if publication.run else "",
        counts=tuple(_counts(publication)),
        actions=_actions([o for report in publication.reports for o in report.outcomes]),
        changes=changes_of(publication.since, SIGNS) if publication.since else None,
        run=tuple(_run_facts(publication.run)) if publication.run else (),
        sections=tuple(
            _section(report, target, seen, publication.life) for report in publication.reports
        ),
        titled=publication.several,
    )


def _label(severity: Severity, run: RunFacts | None) -> str:
    """A run that failed or did not run must not look as if all were well."""
    if run is None or run.state == "succeeded" or run.state not in SIGNS:
        return severity.value
    return run.state


def _about(run: RunFacts) -> str:
    task = run.task.removeprefix("maintenance.")
    ended = run.finished_at or run.started_at or run.queued_at
    took = run.duration_seconds
    parts = [
        f"{task} on {run.target}" if run.target else task,
        format_time(ended),
        "" if took is None else f"took {format_seconds(took)}",
    ]
    return one_line(" · ".join(part for part in parts if part))


def _counts(publication: Publication) -> Iterable[Count]:
    found = [finding for report in publication.reports for finding in report.findings]
    for label, words in counts_of(found).items():
        yield Count(label, SIGNS[label], words)


def _actions(outcomes: Sequence[Outcome]) -> str:
    """Count what was done: ``3 actions: 2 worked, 1 refused``."""
    if not outcomes:
        return ""
    verdicts = Counter(outcome.verdict for outcome in outcomes)
    each = ", ".join(f"{verdicts[v]} {v.value}" for v in Verdict if verdicts[v])
    return f"{counted(len(outcomes), 'action')}: {each}"


#: What the ledger calls a trigger, as the admin's lists call it.
_TRIGGERS = {"beat": "schedule", "cli": "command line", "api": "application code"}


def _run_facts(run: RunFacts) -> Iterable[Fact]:
    yield Fact("task", one_line(run.task))
    if run.target:
        yield Fact("target", one_line(run.target))
    yield Fact("state", one_line(run.state))
    if run.reason:
        yield Fact("reason", visible(run.reason))
    if run.schedule:
        yield Fact("schedule", one_line(run.schedule))
    actor = f" by {run.actor}" if run.actor else ""
    trigger = _TRIGGERS.get(run.trigger, run.trigger)
    yield Fact("triggered", one_line(f"{trigger}{actor}"))
    if run.options:
        yield Fact("options", one_line(format_value("options", run.options)))
    if run.attempt > 1:
        yield Fact("attempt", str(run.attempt))
    if run.started_at is None:
        yield Fact("queued", format_time(run.queued_at))
    else:
        yield Fact("started", format_time(run.started_at))
        waited_seconds = round((run.started_at - run.queued_at).total_seconds())
        if waited_seconds > 0:
            yield Fact("waited", format_seconds(waited_seconds))
    if run.finished_at:
        yield Fact("finished", format_time(run.finished_at))
    if run.duration_seconds is not None:
        yield Fact("took", format_seconds(run.duration_seconds))
    yield Fact("run", one_line(run.run_id))


def _section(report: Report, target: str, seen: Counter[str], life: ReportLife | None) -> Section:
    sorted_findings = by_seriousness(report.findings)
    findings = tuple(
        _finding(finding, finding.fingerprint(target), seen, life)
        for finding in sorted_findings[:ROW_LIMIT]
    )
    return Section(
        title=one_line(report.title),
        summary=visible(report.summary),
        label=report.severity.value,
        sign=SIGNS[report.severity.value],
        tally=tally(sorted_findings),
        steps=steps_of(findings),
        facts=facts_of(report.facts),
        findings=findings,
        findings_left_out=_left_out(len(sorted_findings), "finding"),
        outcomes=tuple(_outcome(outcome) for outcome in report.outcomes[:ROW_LIMIT]),
        outcomes_left_out=_left_out(len(report.outcomes), "action"),
        tables=tuple(_table(table) for table in report.tables),
        plots=plot_contents(report.plots),
        bars=bars_contents(report.bars),
        fixed=tuple(_fixed(each) for each in life.fixed) if life else (),
    )


def _left_out(count: int, noun: str) -> str:
    excess = count - ROW_LIMIT
    if excess <= 0:
        return ""
    verb = "is" if excess == 1 else "are"
    return f"{counted(excess, f'more {noun}')} {verb} left out here; JSON and CSV hold all."


def facts_of(values: Mapping[str, Any]) -> tuple[Fact, ...]:
    """Put named values into words, in their order."""
    labels = headings(list(values))
    return tuple(
        Fact(one_line(label), one_line(format_value(name, value)) or NO_VALUE)
        for label, (name, value) in zip(labels, values.items(), strict=True)
    )


def _anchor(fingerprint: str, seen: Counter[str]) -> str:
    """A page's anchors differ, even where two findings say the same of the same subject."""
    seen[fingerprint] += 1
    again = f"-{seen[fingerprint]}" if seen[fingerprint] > 1 else ""
    return f"finding-{fingerprint}{again}"


def _finding(
    finding: Finding, fingerprint: str, seen: Counter[str], life: ReportLife | None
) -> FindingContent:
    label = label_of(finding)
    return FindingContent(
        label=label,
        sign=SIGNS[label],
        anchor=_anchor(fingerprint, seen),
        code=one_line(finding.code),
        subject=one_line(finding.subject),
        sentence=visible(finding.sentence),
        evidence=facts_of(finding.evidence),
        whose=whose_step(finding.code, finding.commands).value,
        advice=visible(finding.advice),
        commands=tuple(visible(command) for command in finding.commands),
        undo=tuple(visible(command) for command in finding.undo),
        runbook=one_line(finding.runbook),
        runbook_is_link=finding.runbook.startswith(("https://", "http://")),
        life=life_in_words(life, fingerprint, finding.severity) if life else "",
        is_muted=life is not None and life.is_muted(fingerprint, finding.severity),
    )


def _fixed(fixed: FixedFinding) -> str:
    subject = f"{one_line(fixed.subject)}: " if fixed.subject else ""
    return f"{subject}{visible(fixed.sentence)}"


def life_in_words(life: ReportLife, fingerprint: str, severity: Severity) -> str:
    """Say whether a finding is new, or since when it is there, and that it is muted; empty if unknown."""
    since = life.since.get(fingerprint)
    words = ""
    if since is not None:
        words = "new" if since == life.at else f"persisting since {format_time(since)}"
    mute = life.muted.get(fingerprint)
    if mute is None:
        return words
    until = f"until {format_time(mute.until)}" if mute.until else "for good"
    said = f"muted {until} by {one_line(mute.by)}: {one_line(mute.reason)}"
    if not life.is_muted(fingerprint, severity):
        said = f"was {said}, when it was {mute.severity}"
    return "; ".join(filter(None, (words, said)))


def _outcome(outcome: Outcome) -> OutcomeContent:
    action = outcome.action
    label = _VERDICT_LABELS[outcome.verdict]
    return OutcomeContent(
        label=label,
        sign=SIGNS[label],
        verdict=outcome.verdict.value,
        kind=one_line(action.kind),
        subject=one_line(action.subject),
        statement=visible(action.statement),
        reason=one_line(action.reason),
        predicted=facts_of({n: v for n, v in action.predicted.items() if v is not None}),
        changes=_changes(outcome.before, outcome.after),
        sentence=visible(outcome.sentence),
        undo=visible(action.undo),
        took=format_seconds(outcome.duration_seconds) if outcome.duration_seconds else "",
    )


def _changes(before: Mapping[str, Any], after: Mapping[str, Any]) -> tuple[Change, ...]:
    names = [*before, *(name for name in after if name not in before)]
    return tuple(
        Change(
            one_line(heading(name)),
            one_line(format_value(name, before[name])) if name in before else NO_VALUE,
            one_line(format_value(name, after[name])) if name in after else NO_VALUE,
            is_new=name not in before,
        )
        for name in names
    )


def _table(table: Table) -> TableContent:
    # Without a column there is nothing to show, however many rows there are.
    shown = table.rows[:ROW_LIMIT] if table.columns else ()
    rows = tuple(_row(table.columns, row) for row in shown)
    columns = tuple(
        Column(
            heading=one_line(words),
            numeric=_is_numeric(table, index),
            wordy=any(len(row[index]) > _WORDY_LENGTH and " " in row[index] for row in rows),
        )
        for index, words in enumerate(headings(table.columns))
    )
    return TableContent(
        title=one_line(table.title),
        columns=columns,
        rows=rows,
        left_out=_left_out(len(table.rows), "row"),
    )


def _row(columns: tuple[str, ...], row: tuple[Any, ...]) -> tuple[str, ...]:
    cells = (*row, *[None] * (len(columns) - len(row)))  # a short row stays readable
    return tuple(
        one_line(format_value(name, cell)) for name, cell in zip(columns, cells, strict=False)
    )


def _is_numeric(table: Table, index: int) -> bool:
    if is_identifier(table.columns[index]):
        return False
    cells = [row[index] for row in table.rows if index < len(row) and row[index] is not None]
    if not cells:  # dashes stand where the numbers would
        return has_unit(table.columns[index])
    return all(isinstance(cell, int | float) and not isinstance(cell, bool) for cell in cells)
