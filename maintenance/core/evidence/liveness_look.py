"""What the ledger says of the scheduler and the workers, for whoever asks: see :mod:`.liveness`."""

import json
from collections import defaultdict
from collections.abc import Iterator
from datetime import UTC, datetime

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
from maintenance.core.runs.ledger_database import ledger_connection
from maintenance.core.scheduling.definitions import UNREADABLE, Definition
from maintenance.core.scheduling.schedule_book import read_rows
from maintenance.core.scheduling.schedule_sync import NAME_PREFIX
from maintenance.core.scheduling.schedule_versions import defined
from maintenance.models import Leader, Run, RunState, SchedulePolicy, ScheduleVersion

# Each schedule that is on: when it is due, up to when its slots are settled, and its name. By its newest
# version, which a scheduler of ours has taken over; there is none, or an empty one, where the row is new or
# was just switched on again. What a version says beside its due times is left out: hundreds of targets have
# the same ones, which are then read and computed once. JSONB has one text for one value.
_SCHEDULES = """
SELECT (nullif(version.definition, '{{}}') - ARRAY['task', 'target', 'policy', 'once'])::text,
       greatest(version.since - interval '1 microsecond', row.last_run_at), row.name, row.id
FROM {rows} AS row
LEFT JOIN (
    SELECT DISTINCT ON (schedule) schedule, since, definition
    FROM {versions}
    ORDER BY schedule, since DESC
) AS version ON version.schedule = row.name
WHERE row.enabled
"""

#: A moment that is due, and the name of its schedule's row.
_Slot = tuple[datetime, str]


def look() -> Look:
    """Read the ledger: six queries, and the next slot of every schedule that is on.

    Takes about 5 µs a schedule, and 0.1 ms for one that no scheduler has taken over yet: those are read
    in parts. Raises Django's ``DatabaseError`` where the ledger is away.
    """
    now = ledger_now()
    coming = list(_next_slots(now))
    lost_before = overdue_before(now)
    due = sorted(slot for slot in coming if slot[0] < lost_before)
    following = min((slot for slot in coming if slot[0] >= now), default=None)
    return Look(
        now=now,
        enabled=PeriodicTask.objects.filter(enabled=True).count(),
        leader=_leader(),
        overdue=[_named(slot) for slot in due],
        paused=tuple(_paused()),
        queues=tuple(_queues(now)),
        following=_named(following) if following else None,
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


def _next_slots(now: datetime) -> Iterator[_Slot]:
    """Yield the first slot after those that are settled, of every schedule that is on and has one."""
    known: defaultdict[str, list[_Slot]] = defaultdict(list)
    strange: list[int] = []
    for due_times, settled_until, name, row_id in _schedules():
        if due_times is None:
            strange.append(row_id)
        else:
            known[due_times].append((settled_until, name))
    for text, schedules in known.items():
        yield from _first_slots(Definition.from_json({"task": "", **json.loads(text)}), schedules)
    for rows in read_rows(strange):
        for row in rows:
            cursor = row.last_run_at or row.date_changed or now
            try:
                definition = defined(row, cursor, None)
            except UNREADABLE:
                continue
            yield from _first_slots(definition, [(cursor, row.name)])


def _schedules() -> list[tuple[str | None, datetime, str, int]]:
    quote = ledger_connection().ops.quote_name
    tables = {"rows": PeriodicTask, "versions": ScheduleVersion}
    text = _SCHEDULES.format(**{name: quote(of._meta.db_table) for name, of in tables.items()})
    with ledger_connection().cursor() as cursor:
        cursor.execute(text)
        found: list[tuple[str | None, datetime, str, int]] = cursor.fetchall()
    return found


def _first_slots(definition: Definition, schedules: list[_Slot]) -> Iterator[_Slot]:
    """Yield the first slot of each of these schedules after the moment with its name, if it has any."""
    slot: datetime | None = None
    for settled_until, name in sorted(schedules):
        if slot is None or settled_until >= slot:
            slot = _first_after(settled_until, definition)
            if slot is None:  # nor has one that is settled for longer
                return
        yield slot, name


def _first_after(moment: datetime, definition: Definition) -> datetime | None:
    try:
        slot = next(definition.after(moment), None)
    except UNREADABLE:  # its due times cannot be read: it has no slots
        return None
    return slot and slot.astimezone(UTC)


def _named(slot: _Slot) -> OverdueSlot:
    return OverdueSlot(slot[1].removeprefix(NAME_PREFIX), slot[0])


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
