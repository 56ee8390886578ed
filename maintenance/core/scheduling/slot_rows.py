"""Due slots become rows: decided by their schedules' policies, in bulk, in the leader's transaction."""

import json
import logging
import uuid
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.db.models import F
from django_celery_beat.models import PeriodicTask

from maintenance.conf import configuration
from maintenance.core.errors import MaintenanceError, Skipped
from maintenance.core.findings import Finding, Severity
from maintenance.core.options import parse_options
from maintenance.core.reports import Report
from maintenance.core.runs.end_reports import failure_report, stop_report
from maintenance.core.runs.foreign_tasks import is_foreign
from maintenance.core.runs.messages import fault_of_options, fault_of_target, storable_name
from maintenance.core.runs.registry import TaskSpec, task_named
from maintenance.core.runs.report_rows import store_short_reports
from maintenance.core.scheduling.pausing import SCHEDULER, failures_in_a_row
from maintenance.core.scheduling.policies import (
    Circumstances,
    Closure,
    Decision,
    Outcome,
    Overlap,
    UnendedRun,
    decide,
)
from maintenance.core.scheduling.schedule_book import Held
from maintenance.core.scheduling.schedule_versions import Version, arguments_of
from maintenance.models import (
    Blackout,
    Run,
    RunState,
    SchedulePolicy,
    ScheduleVersion,
    Trigger,
)

logger = logging.getLogger("maintenance.scheduler")

#: Namespace of run ids: the same slot gives the same id in every process, for ever.
SLOT_NAMESPACE = uuid.UUID("6f1d2a52-6a5e-4d53-9d57-0d5a9c6c1e11")
#: How long a run that waits for another one is kept from being sent by anybody but the leader, which
#: looks after it long before.
HOLD = timedelta(hours=1)

_INSTANT = timedelta(microseconds=1)
#: As long as the ledger's column.
_LONGEST_CHECKLIST = 20


@dataclass(frozen=True, slots=True)
class Due:
    """Slots of one schedule to be decided; all up to ``through`` are, then.

    Those after it, and up to ``until``, are due, too, and are left to another transaction.
    """

    held: Held
    slots: Sequence[datetime]
    through: datetime
    until: datetime


@dataclass(frozen=True, slots=True)
class Recorded:
    """The rows that were written: runs that are queued, and those that ended at once."""

    queued: Sequence[Run]
    ended: Sequence[tuple[Run, Report]]


@dataclass(frozen=True, slots=True)
class Origin:
    """What the runs of a row have in common. ``fault`` says why they cannot run."""

    task: str
    spec: TaskSpec | None
    options: Mapping[str, Any]
    queue: str
    checklist: str
    fault: str = ""


def slot_id(schedule: str, target: str, slot: datetime) -> uuid.UUID:
    """Return the id of a slot's run, which is the Celery task id: the same in every process."""
    return uuid.uuid5(SLOT_NAMESPACE, f"{schedule}\n{target}\n{slot.isoformat()}")


def record_slots(dues: Sequence[Due], now: datetime) -> Recorded:
    """Write a row for each slot, and move the cursors.

    Takes place within the leader's transaction: nobody else writes rows of slots. A slot that has a row
    keeps it. The work grows with the number of slots. The number of queries does not, but for one for each
    schedule that is paused after failures, and a few for each open alarm that gets worse or is over.
    """
    paused = _pause_failing(dues, now)
    earlier = _unended_runs(
        due.held.name for due in dues if due.held.definition.policy.overlap is not Overlap.ALLOW
    )
    closures = _closures(min(due.slots[0] for due in dues))
    known = _known_slots(dues)
    runs: list[Run] = []
    started: dict[str, int] = {}
    for due in dues:
        decisions = _decisions(due, now, earlier[due.held.name], closures)
        due.held.carried = _carried(due, decisions)
        rows = _rows(due.held, decisions, now)
        rows = [run for run in rows if (run.schedule, run.target, run.scheduled_for) not in known]
        started[due.held.name] = sum(run.state != RunState.SKIPPED for run in rows)
        runs += rows
    ended = [(run, _end(run, paused)) for run in runs if run.is_finished]
    Run.objects.bulk_create(runs, batch_size=500)
    store_short_reports(ended, now)
    _move(dues, started, now)
    return Recorded([run for run in runs if not run.is_finished], ended)


def _decisions(
    due: Due, now: datetime, earlier: Sequence[UnendedRun], closures: Sequence[Closure]
) -> list[Decision]:
    held, definition = due.held, due.held.definition
    if held.row is None:
        reason = "its schedule was deleted before it was decided"
        return [Decision(slot, Outcome.SKIP, reason) for slot in due.slots]
    circumstances = Circumstances(
        schedule=held.name,
        target=definition.target,
        earlier=earlier,
        closures=closures,
        later=definition.between(due.through, due.until),
        carried=held.carried,
    )
    return decide(due.slots, definition.policy, now, circumstances)


def _carried(due: Due, decisions: Sequence[Decision]) -> int:
    """Count the slots that are left to those which are decided later: none once a run stands for them."""
    has_run = any(decision.outcome is not Outcome.SKIP for decision in decisions)
    if has_run or due.through == due.until:
        return 0
    return due.held.carried + sum(decision.is_left for decision in decisions)


def _rows(held: Held, decisions: Sequence[Decision], now: datetime) -> list[Run]:
    origin = origin_of(held)
    return [_row(held, origin, decision, now) for decision in decisions]


def _row(held: Held, origin: Origin, decision: Decision, now: datetime) -> Run:
    target = held.definition.target
    run = Run(
        id=slot_id(held.name, target, decision.slot),
        task=origin.task,
        target=target,
        options=dict(origin.options),
        resource=origin.spec.resource if origin.spec is not None else "",
        queue=origin.queue,
        priority=_priority(held),
        checklist=origin.checklist,
        schedule=held.name,
        scheduled_for=decision.slot,
        trigger=Trigger.BEAT,
        queued_at=now,
        deadline_at=decision.deadline_at,
        stands_for=decision.stands_for,
        reason=decision.reason,
    )
    if decision.outcome is Outcome.SKIP:
        run.state, run.finished_at = RunState.SKIPPED, now
    elif origin.fault:
        run.state, run.finished_at, run.reason = RunState.FAILED, now, origin.fault
    elif decision.outcome is Outcome.WAIT:
        run.available_at = now + HOLD
    elif decision.begins_at is not None and decision.begins_at > now:
        run.available_at = decision.begins_at
    return run


def _priority(held: Held) -> int | None:
    policy = held.definition.policy
    if policy.priority is not None or held.row is None:
        return policy.priority
    given: int | None = held.row.priority
    return given


def origin_of(held: Held) -> Origin:
    """Return what a row's runs have in common, checked as a run by hand is."""
    row, target = held.row, held.definition.target
    task = held.definition.task
    arguments = {} if row is None else arguments_of(row)
    checklist = "" if row is None else _checklist_of(row)
    if is_foreign(task):
        return Origin(task, None, {}, (row.queue if row is not None else "") or "", checklist)
    options = arguments.get("options", {})
    if fault := fault_of_target(arguments.get("target", "")) or fault_of_options(options):
        reason = f'The arguments of "{held.name}" are of no run: {fault}. Correct them on its page.'
        return Origin(task, None, {}, "", checklist, reason)
    try:
        spec = task_named(task)
    except MaintenanceError as error:
        return Origin(task, None, options, "", checklist, str(error))
    origin = Origin(spec.name, spec, options, spec.queue, checklist)
    try:
        spec.resolve_target(configuration(), target)
        parse_options(spec.options_type, options)
    except Skipped:
        return origin  # nothing of the kind is configured: its run says so
    except MaintenanceError as error:
        return replace(origin, fault=str(error))
    return origin


def _checklist_of(row: PeriodicTask) -> str:
    given = str(_json(row.headers).get("maintenance_checklist", ""))
    return storable_name(given, _LONGEST_CHECKLIST)


def _json(text: str | None) -> dict[str, Any]:
    try:
        found = json.loads(text or "{}")
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def _unended_runs(names: Iterable[str]) -> defaultdict[str, list[UnendedRun]]:
    found: defaultdict[str, list[UnendedRun]] = defaultdict(list)
    runs = Run.objects.filter(
        state__in=[RunState.QUEUED, RunState.RUNNING], schedule__in=list(names)
    ).order_by("scheduled_for")
    for run in runs.only("id", "schedule", "state", "queued_at", "started_at"):
        is_at_work = run.state == RunState.RUNNING
        since = run.started_at if is_at_work and run.started_at is not None else run.queued_at
        found[run.schedule].append(UnendedRun(str(run.id), is_at_work, since))
    return found


def _closures(since: datetime) -> list[Closure]:
    return [
        Closure(blackout.starts_at, blackout.ends_at, blackout.reason, blackout.target)
        for blackout in Blackout.objects.filter(ends_at__gt=since)
    ]


def _known_slots(dues: Sequence[Due]) -> set[tuple[str, str, datetime]]:
    """Return the slots that have a row: of a cursor that an old form of the admin put back."""
    names = [due.held.name for due in dues]
    since, until = min(due.slots[0] for due in dues), max(due.slots[-1] for due in dues)
    found = Run.objects.filter(schedule__in=names, scheduled_for__range=(since, until))
    return {
        (schedule, target, slot)
        for schedule, target, slot in found.order_by().values_list(
            "schedule", "target", "scheduled_for"
        )
        if slot is not None
    }


def _pause_failing(dues: Sequence[Due], now: datetime) -> set[str]:
    """Pause the schedules whose last runs failed; return their names. These slots are skipped."""
    paused: set[str] = set()
    for due in dues:
        held, policy = due.held, due.held.definition.policy
        if policy.pause or not policy.pause_after_failures or held.row is None:
            continue
        reason = failures_in_a_row(held.row, policy)
        if not reason:
            continue
        SchedulePolicy.objects.filter(row_id=held.row_id).update(
            paused_at=now, paused_by=SCHEDULER, pause_reason=reason, changed_at=now
        )
        paused_policy = replace(policy, pause=f"by {SCHEDULER}: {reason}")
        definition = replace(held.definition, policy=paused_policy)
        held.version = Version(held.name, held.cursor + _INSTANT, definition)
        store_versions(version_rows([held.version]))
        paused.add(held.name)
        logger.error("%s is paused: %s", held.name, reason)
    return paused


def version_rows(versions: Iterable[Version]) -> list[ScheduleVersion]:
    """Return versions as rows, to be written by :func:`store_versions`."""
    return [
        ScheduleVersion(
            schedule=version.schedule,
            since=version.since,
            definition=version.definition.to_json() if version.definition is not None else {},
        )
        for version in versions
    ]


def store_versions(rows: Sequence[ScheduleVersion]) -> None:
    """Write versions; one of the same moment is replaced."""
    ScheduleVersion.objects.bulk_create(
        rows,
        batch_size=500,
        update_conflicts=True,
        update_fields=["definition"],
        unique_fields=["schedule", "since"],
    )


def _end(run: Run, paused: set[str]) -> Report:
    """Return the report of a run that ends as it is written. One of a pause just made is an alarm."""
    if run.state == RunState.FAILED:
        report = failure_report(run, run.reason)
    else:
        report = stop_report(run, RunState.SKIPPED, run.reason)
        if run.schedule in paused:
            paused.discard(run.schedule)
            report = replace(report, findings=(_pause_finding(run),))
    run.severity, run.summary = report.severity.value, report.summary
    return report


def _pause_finding(run: Run) -> Finding:
    return Finding(
        code="schedule-paused",
        severity=Severity.WARNING,
        subject=run.schedule,
        sentence=f'"{run.schedule}" is {run.reason}. Its slots are skipped until it is resumed.',
        advice="Look at its last runs, mend the cause, and resume it on the page of the schedule.",
    )


def _move(dues: Sequence[Due], started: Mapping[str, int], now: datetime) -> None:
    """Move the cursors, here and in django-celery-beat's rows; end what is due once only."""
    rows: defaultdict[tuple[datetime, int], list[int]] = defaultdict(list)
    over: list[Held] = []
    for due in dues:
        held, count = due.held, started[due.held.name]
        if held.definition.once and count:
            over.append(held)
        else:
            rows[due.through, count].append(held.row_id)
        held.move(due.through)
    for (through, count), ids in rows.items():
        PeriodicTask.objects.filter(pk__in=ids).update(
            last_run_at=through, total_run_count=F("total_run_count") + count
        )
    if over:
        _end_for_good(over, now)


def _end_for_good(over: Sequence[Held], now: datetime) -> None:
    """Switch off what was due once, as django-celery-beat does, so that it can be switched on again."""
    PeriodicTask.objects.filter(pk__in=[held.row_id for held in over]).update(
        enabled=False, total_run_count=0, last_run_at=now
    )
    for held in over:
        held.version = Version(held.name, held.cursor + _INSTANT, None)
        held.next_slot = None
    store_versions(version_rows(held.version for held in over))
