"""The report: data first, one versioned schema; every page, file and line is a rendering of it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from maintenance.core.finding_life import ReportLife
from maintenance.core.findings import Finding, Severity, by_seriousness, worst_severity
from maintenance.core.plans import Outcome
from maintenance.core.plots import BarChart, Plot

#: Raised whenever a reader of older files would misread a newer one.
SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Table:
    """Measurements as rows. A column's name carries its unit (``size_bytes``, ``bloat_ratio``);
    renderers format by that ending. Cells are plain JSON values."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]

    @classmethod
    def of(cls, title: str, rows: Sequence[Mapping[str, Any]]) -> "Table":
        """Build from mappings that share the keys of the first one."""
        columns = tuple(rows[0]) if rows else ()
        return cls(title, columns, tuple(tuple(row[c] for c in columns) for row in rows))


@dataclass(frozen=True, slots=True)
class Sample:
    """One number to keep over time. ``metric`` ends in its unit; ``subject`` may be empty."""

    metric: str
    value: float
    subject: str = ""


@dataclass(frozen=True, slots=True)
class FollowUp:
    """The same task on the same target again, with these ``options``, after ``delay_seconds``.

    For what could not be ended now and must not wait for the next schedule. Never rendered: the
    report's findings say what is still open.
    """

    options: Mapping[str, Any]
    delay_seconds: float


@dataclass(frozen=True, slots=True)
class Report:
    """What one run has to say.

    ``summary`` is the verdict in one sentence. ``state`` is carried to the next run of the same
    task on the same target (counters of a snapshot, a cursor) and is never rendered; nor is
    ``follow_up``, a run that this one asks for.
    """

    title: str
    summary: str
    findings: tuple[Finding, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    tables: tuple[Table, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    plots: tuple[Plot, ...] = ()
    bars: tuple[BarChart, ...] = ()
    state: Mapping[str, Any] = field(default_factory=dict)
    follow_up: FollowUp | None = None

    @property
    def severity(self) -> Severity:
        """The worst severity among the findings."""
        return worst_severity(self.findings)

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, without ``state``; plots and bars only where there are some."""
        plots = [plot.to_json() for plot in self.plots]
        bars = [chart.to_json() for chart in self.bars]
        return {
            "title": self.title,
            "summary": self.summary,
            "severity": self.severity.value,
            "findings": [finding.to_json() for finding in self.findings],
            "outcomes": [outcome.to_json() for outcome in self.outcomes],
            "tables": [
                {"title": t.title, "columns": list(t.columns), "rows": [list(r) for r in t.rows]}
                for t in self.tables
            ],
            "facts": dict(self.facts),
            "samples": [
                {"metric": s.metric, "value": s.value, "subject": s.subject} for s in self.samples
            ],
            **({"plots": plots} if plots else {}),
            **({"bars": bars} if bars else {}),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Report":
        """Rebuild a report from :meth:`to_json`; ``state`` is empty."""
        return cls(
            title=body["title"],
            summary=body["summary"],
            findings=tuple(Finding.from_json(item) for item in body["findings"]),
            outcomes=tuple(Outcome.from_json(item) for item in body["outcomes"]),
            tables=tuple(
                Table(t["title"], tuple(t["columns"]), tuple(tuple(r) for r in t["rows"]))
                for t in body["tables"]
            ),
            facts=dict(body["facts"]),
            samples=tuple(Sample(**item) for item in body["samples"]),
            plots=tuple(Plot.from_json(plot) for plot in body.get("plots", ())),
            bars=tuple(BarChart.from_json(chart) for chart in body.get("bars", ())),
        )


def joined(title: str, reports: Sequence[Report]) -> Report:
    """Return one report that says all that several reports say; the same sentence only once."""
    facts: dict[str, Any] = {}
    state: dict[str, Any] = {}
    for report in reports:
        facts.update(report.facts)
        state.update(report.state)
    return Report(
        title=title,
        summary=" ".join(dict.fromkeys(report.summary for report in reports)),
        findings=tuple(by_seriousness(f for report in reports for f in report.findings)),
        outcomes=tuple(outcome for report in reports for outcome in report.outcomes),
        tables=tuple(table for report in reports for table in report.tables),
        facts=facts,
        samples=tuple(sample for report in reports for sample in report.samples),
        plots=tuple(plot for report in reports for plot in report.plots),
        bars=tuple(chart for report in reports for chart in report.bars),
        state=state,
    )


@dataclass(frozen=True, slots=True)
class RunFacts:
    """Who ran what, when and how it ended: the head of every rendered report.

    ``state`` is one of queued, running, succeeded, failed, skipped, cancelled; ``reason`` says why
    it failed or was skipped. Times are timezone-aware.
    """

    run_id: str
    task: str
    target: str
    schedule: str
    trigger: str
    actor: str
    state: str
    reason: str
    attempt: int
    options: Mapping[str, Any]
    queued_at: datetime
    started_at: datetime | None
    finished_at: datetime | None

    @property
    def duration_seconds(self) -> float | None:
        """Seconds between start and finish; ``None`` while either is missing."""
        if self.started_at is None or self.finished_at is None:
            return None
        return (self.finished_at - self.started_at).total_seconds()

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; times as ISO 8601 with offset."""
        return {
            "run_id": self.run_id,
            "task": self.task,
            "target": self.target,
            "schedule": self.schedule,
            "trigger": self.trigger,
            "actor": self.actor,
            "state": self.state,
            "reason": self.reason,
            "attempt": self.attempt,
            "options": dict(self.options),
            "queued_at": self.queued_at.isoformat(),
            "started_at": self.started_at.isoformat() if self.started_at else None,
            "finished_at": self.finished_at.isoformat() if self.finished_at else None,
            "duration_seconds": self.duration_seconds,
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "RunFacts":
        """Rebuild from :meth:`to_json`."""
        times = {
            name: datetime.fromisoformat(body[name]) if body[name] else None
            for name in ("queued_at", "started_at", "finished_at")
        }
        rest = {k: v for k, v in body.items() if k != "duration_seconds"}
        return cls(**{**rest, **times})


@dataclass(frozen=True, slots=True)
class ReportDocument:
    """A report with its run: what is stored, rendered and downloaded.

    ``life`` says since when its findings are there; ``None`` where nobody compared.
    """

    run: RunFacts
    report: Report
    life: ReportLife | None = None

    @property
    def severity(self) -> Severity:
        """The worst severity among the findings that count: those that are muted do not."""
        life = self.life
        if life is None:
            return self.report.severity
        return worst_severity(
            finding
            for finding in self.report.findings
            if not life.is_muted(finding.fingerprint(self.run.target), finding.severity)
        )

    def to_json(self) -> dict[str, Any]:
        """Return the whole document as plain JSON values with its schema version."""
        return {
            "schema_version": SCHEMA_VERSION,
            "run": self.run.to_json(),
            "report": self.report.to_json(),
            **({"life": self.life.to_json()} if self.life else {}),
        }

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "ReportDocument":
        """Rebuild a document. Raises ``ValueError`` for a schema version this code cannot read."""
        version = body.get("schema_version")
        if version != SCHEMA_VERSION:
            raise ValueError(
                f"This report has schema version {version!r}, this program reads {SCHEMA_VERSION}."
                " Read it with the release that wrote it."
            )
        life = ReportLife.from_json(body["life"]) if body.get("life") else None
        return cls(RunFacts.from_json(body["run"]), Report.from_json(body["report"]), life)
