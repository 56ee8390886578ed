"""The reports that an audit joins, read from the ledger."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from django.db.models import Q, QuerySet

from maintenance.conf import Configuration
from maintenance.core.attention.mutes import is_silenced, mutes_in_force
from maintenance.core.finding_life import Mute
from maintenance.core.findings import Finding
from maintenance.core.reports import Report, ReportDocument
from maintenance.core.runs.ledger import run_facts
from maintenance.core.runs.registry import TaskSpec, all_tasks
from maintenance.models import Run, RunState

#: The audit itself, and what looks after the product's own records, which the audit's live part does.
LEFT_OUT = frozenset({"run_performance_audit", "prove_slots", "trim_reports", "send_digest"})

#: A report is compared with the newest one that is at least so old: a month ago, give or take the
#: days by which months differ and a run that came late.
EARLIER_DAYS = 25

#: Ended runs whose report says something of their subject, or why there is none.
_ENDED = (RunState.SUCCEEDED, RunState.FAILED, RunState.SKIPPED)


@dataclass(frozen=True, slots=True)
class Subject:
    """One task on one target: what it said last, and about a month before, without what is muted.

    ``state`` and ``reason`` are those of its last run, which need not be the one that ``now`` is of:
    a run that failed or was skipped measured nothing. ``dangerous`` tasks have no report on a site
    that does not allow them.
    """

    task: str
    target: str
    state: str
    reason: str
    now: ReportDocument | None
    before: ReportDocument | None

    @property
    def name(self) -> str:
        """How tables call it: ``report_table_bloat site``."""
        return f"{self.task} {self.target}".strip()


def audited_tasks() -> list[TaskSpec]:
    """Return every task of ours whose report is a part of the audit."""
    return [spec for spec in all_tasks() if spec.short_name not in LEFT_OUT]


def read_subjects(configuration: Configuration, at: datetime) -> list[Subject]:
    """Return a subject for each task and configured target, in the order of their names.

    Four queries, whatever their number. Raises Django's ``DatabaseError``.
    """
    specs = audited_tasks()
    names = [spec.name for spec in specs]
    succeeded = Q(state=RunState.SUCCEEDED)
    newest = _NewestRuns(
        ended=_newest(names, Q(state__in=_ENDED)),
        measured=_newest(names, succeeded),
        earlier=_newest(names, succeeded & Q(finished_at__lt=at - timedelta(days=EARLIER_DAYS))),
        mutes=mutes_in_force(at),
        at=at,
    )
    return [
        newest.subject(spec, target)
        for spec in specs
        for target in spec.target_names(configuration)
        if not newest.is_not_allowed(spec, target)
    ]


_Runs = Mapping[tuple[str, str], Run]


@dataclass(frozen=True, slots=True)
class _NewestRuns:
    """By task and target: how it ended last, what it measured last, and what a month ago."""

    ended: _Runs
    measured: _Runs
    earlier: _Runs
    mutes: Mapping[tuple[str, str], Mute]
    at: datetime

    def is_not_allowed(self, spec: TaskSpec, target: str) -> bool:
        """Tell whether it is a task that is off until somebody allows it, and was never run."""
        return spec.dangerous is not None and (spec.name, target) not in self.measured

    def subject(self, spec: TaskSpec, target: str) -> Subject:
        key = (spec.name, target)
        ended, measured, earlier = (
            runs.get(key) for runs in (self.ended, self.measured, self.earlier)
        )
        return Subject(
            task=spec.short_name,
            target=target,
            state=ended.state if ended else "",
            reason=ended.reason if ended else "",
            now=self._document(measured),
            before=self._document(earlier) if earlier != measured else None,
        )

    def _document(self, run: Run | None) -> ReportDocument | None:
        if run is None:
            return None
        report = Report.from_json(run.report.body)
        heard = tuple(each for each in report.findings if not self._is_silenced(each, run))
        return ReportDocument(run_facts(run), replace(report, findings=heard))

    def _is_silenced(self, finding: Finding, run: Run) -> bool:
        key = (run.task, finding.fingerprint(run.target))
        return is_silenced(key, finding.severity, self.mutes, self.at)


def _newest(names: list[str], wanted: Q) -> _Runs:
    """Return the newest run of each task and target that has a report."""
    found: QuerySet[Run] = (
        Run.objects.filter(wanted, task__in=names, report__isnull=False)
        .select_related("report")
        .order_by("task", "target", "-finished_at")
        .distinct("task", "target")
    )
    return {(run.task, run.target): run for run in found}


def still_at_work(at: datetime, patience: timedelta) -> Iterator[str]:
    """Yield the names of audited runs that were asked for lately and have not ended.

    One that waits for longer than a minute (for a window, for a retry) is not waited for.
    """
    names = [spec.name for spec in audited_tasks()]
    waiting = Run.objects.filter(
        Q(available_at=None) | Q(available_at__lt=at + timedelta(minutes=1)),
        task__in=names,
        state__in=(RunState.QUEUED, RunState.RUNNING),
        queued_at__gt=at - patience,
    )
    for run in waiting.order_by("task", "target"):
        yield str(run)
