"""What the ledger says of the scheduler and the workers, for whoever asks: see :mod:`.liveness`."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db.models import Count, Min, Q
from django.db.models.functions import Coalesce
from django_celery_beat.models import PeriodicTask

from maintenance.core.evidence.liveness import (
    LeaderFacts,
    Look,
    OverdueSlot,
    PausedSchedule,
    QueueFacts,
    overdue_before,
    scheduler_report,
)
from maintenance.core.reports import Report
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.scheduling.definitions import UNREADABLE, Definition
from maintenance.core.scheduling.schedule_sync import NAME_PREFIX
from maintenance.core.scheduling.schedule_versions import defined
from maintenance.models import Leader, Run, RunState, SchedulePolicy, ScheduleVersion

_INSTANT = timedelta(microseconds=1)
_KINDS = ("crontab", "interval", "solar", "clocked", "maintenance_policy")


def look() -> Look:
    """Read the ledger: six queries, and the next slot of every schedule that is on.

    Takes about 0.1 ms a schedule. Raises Django's ``DatabaseError`` where the ledger is away.
    """
    now = ledger_now()
    coming = list(_next_slots(now))
    due = [slot for slot in coming if slot.due_at < overdue_before(now)]
    following = min(
        (slot for slot in coming if slot.due_at >= now), key=lambda slot: slot.due_at, default=None
    )
    return Look(
        now=now,
        enabled=PeriodicTask.objects.filter(enabled=True).count(),
        leader=_leader(),
        overdue=sorted(due, key=lambda slot: (slot.due_at, slot.schedule)),
        paused=tuple(_paused()),
        queues=tuple(_queues(now)),
        following=following,
    )


def leader_report() -> Report:
    """Judge the scheduler alone, in three queries: for a page that many people open."""
    return scheduler_report(
        Look(
            now=ledger_now(),
            enabled=int(PeriodicTask.objects.filter(enabled=True).exists()),
            leader=_leader(),
        )
    )


def _leader() -> LeaderFacts | None:
    found = Leader.objects.order_by("-expires_at").first()
    if found is None:
        return None
    return LeaderFacts(found.holder, found.since, found.expires_at, found.ticked_at)


def _next_slots(now: datetime) -> Iterator[OverdueSlot]:
    """Yield the first slot after those that are settled, of every schedule that is on.

    By the row itself, or by its newest version, which a scheduler of ours has taken over.
    """
    versions = _versions()
    for row in PeriodicTask.objects.filter(enabled=True).select_related(*_KINDS).iterator():
        since, definition = versions.get(row.name, (None, None))
        if since is None or definition is None:  # new, or just switched on again
            cursor = row.last_run_at or row.date_changed or now
            definition = defined(row, cursor, None)
        else:
            cursor = max(since - _INSTANT, row.last_run_at or since - _INSTANT)
        slot = _first_after(cursor, definition)
        if slot is not None:
            yield OverdueSlot(row.name.removeprefix(NAME_PREFIX), slot.astimezone(UTC))


def _versions() -> dict[str, tuple[datetime, Definition | None]]:
    newest = ScheduleVersion.objects.order_by("schedule", "-since").distinct("schedule")
    stored: Iterator[tuple[str, datetime, dict[str, Any]]]
    stored = newest.values_list("schedule", "since", "definition").iterator()
    return {
        schedule: (since, Definition.from_json(definition) if definition else None)
        for schedule, since, definition in stored
    }


def _first_after(moment: datetime, definition: Definition) -> datetime | None:
    try:
        return next(definition.after(moment), None)
    except UNREADABLE:  # its due times cannot be read: it has no slots
        return None


def _paused() -> Iterator[PausedSchedule]:
    policies = SchedulePolicy.objects.filter(paused_at__isnull=False, row__enabled=True)
    for policy in policies.select_related("row").order_by("row__name"):
        assert policy.paused_at is not None
        yield PausedSchedule(
            policy.row.name.removeprefix(NAME_PREFIX),
            policy.paused_at,
            policy.paused_by,
            policy.pause_reason,
        )


def _queues(now: datetime) -> Iterator[QueueFacts]:
    could_start = Q(state=RunState.QUEUED) & (Q(available_at=None) | Q(available_at__lte=now))
    found = (
        Run.objects.filter(state__in=(RunState.QUEUED, RunState.RUNNING))
        .order_by("queue")
        .values("queue")
        .annotate(
            waiting=Count("id", filter=could_start),
            waits_since=Min(Coalesce("available_at", "queued_at"), filter=could_start),
            at_work=Count("id", filter=Q(state=RunState.RUNNING)),
        )
    )
    for row in found:
        yield QueueFacts(row["queue"], row["waiting"], row["waits_since"] or now, row["at_work"])
