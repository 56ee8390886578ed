"""What a schedule was, and since when: written by the leading scheduler, read by the proof.

A version says which slots a schedule has from its ``since`` on, up to that of the next version. Between
two versions no slot is counted twice, and none is left out.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from maintenance.core.runs.foreign_tasks import is_foreign
from maintenance.core.runs.ledger_database import ledger_connection
from maintenance.core.runs.messages import LONGEST_TARGET, storable_name
from maintenance.core.scheduling.definitions import Definition
from maintenance.core.scheduling.policies import Overlap, Policy
from maintenance.models import SchedulePolicy, ScheduleVersion

#: What reading a crontab's row raises where this machine does not know its time zone.
UNREADABLE_FIELD = (ValidationError, ValueError, OSError)

_INSTANT = timedelta(microseconds=1)


def recorded_since() -> datetime | None:
    """Return when the first version of any schedule begins; ``None`` where no scheduler has led yet."""
    return now_and_recorded_since()[1]


def now_and_recorded_since() -> tuple[datetime, datetime | None]:
    """Return the ledger's time, and when the first version of any schedule begins, in one query."""
    with ledger_connection().cursor() as cursor:
        cursor.execute(
            "SELECT pg_catalog.statement_timestamp(), (SELECT min(since) FROM maintenance_scheduleversion)"
        )
        now, first = cursor.fetchone()
    return now, first


@dataclass(frozen=True, slots=True)
class Version:
    """One schedule from ``since`` on; off, or gone, where there is no ``definition``."""

    schedule: str
    since: datetime
    definition: Definition | None

    @classmethod
    def of(cls, stored: ScheduleVersion) -> "Version":
        """Return a stored version."""
        definition = Definition.from_json(stored.definition) if stored.definition else None
        return cls(stored.schedule, stored.since, definition)

    def slots(self, since: datetime, until: datetime) -> Iterator[datetime]:
        """Yield its slots from ``since`` on, inclusive, up to ``until``, exclusive."""
        if self.definition is not None:
            start = max(since, self.since)
            yield from self.definition.between(start - _INSTANT, until - _INSTANT)


def stored_versions(since: datetime, until: datetime) -> Iterator[Sequence[Version]]:
    """Yield the versions of each schedule that count in a time, in their order.

    The first one of a schedule may lie before ``since``. Costs one query; memory is bounded by the
    versions of one schedule.
    """
    rows = ScheduleVersion.objects.filter(since__lt=until).order_by("schedule", "since")
    versions: list[Version] = []
    for row in rows.iterator():
        version = Version.of(row)
        if versions and versions[-1].schedule != version.schedule:
            yield versions
            versions = []
        if version.since <= since:
            versions = []
        versions.append(version)
    if versions:
        yield versions


def due_slots(
    versions: Sequence[Version], since: datetime, until: datetime
) -> Iterator[tuple[datetime, Definition]]:
    """Yield the slots of one schedule from ``since`` on, up to ``until``, exclusive. Pure.

    ``versions`` are its versions in their order. Raises as :meth:`Definition.after`.
    """
    ends: Iterable[datetime] = [*(version.since for version in versions[1:]), until]
    for version, end in zip(versions, ends, strict=True):
        if version.definition is not None:
            for slot in version.slots(since, min(end, until)):
                yield slot, version.definition
                if version.definition.once:
                    break


def defined(row: PeriodicTask, since: datetime, before: Definition | None) -> Definition:
    """Return what a row says from ``since`` on, given what it said ``before``.

    An interval that stays the same goes on being counted from where it was. Raises ``ValueError`` for a
    crontab in a time zone that this machine does not know.
    """
    stored = _stored_policy(row)
    definition = Definition(
        task=row.task,
        target=target_of(row),
        days=stored.days if stored is not None and row.crontab_id is not None else "",
        once=row.one_off,
        starts_at=row.start_time,
        expires_at=row.expires,
        policy=policy_of(row),
        **_due_times(row),
    )
    if definition.every_seconds is None and definition.at is None:
        return definition
    return replace(definition, counted_from=_counted_from(row, definition, since, before))


def _counted_from(
    row: PeriodicTask, definition: Definition, since: datetime, before: Definition | None
) -> datetime | None:
    if before is not None and before.counted_from is not None:
        kept = (before.every_seconds, before.at, before.starts_at)
        if kept == (definition.every_seconds, definition.at, definition.starts_at):
            return before.counted_from
        known_since = None
    else:
        known_since = row.last_run_at or row.date_changed
    if definition.at is not None:
        return since
    start: datetime = row.start_time or known_since or since
    return start


def _due_times(row: PeriodicTask) -> dict[str, Any]:
    crontab = _crontab_of(row)
    if crontab is not None:
        return {"crontab": crontab_text(crontab), "timezone": str(crontab.timezone)}
    if row.interval is not None:
        every = timedelta(**{row.interval.period: row.interval.every})
        return {"every_seconds": every.total_seconds()}
    if row.solar is not None:
        return {"solar": (row.solar.event, float(row.solar.latitude), float(row.solar.longitude))}
    if row.clocked is not None:
        return {"at": row.clocked.clocked_time}
    return {}


def _crontab_of(row: PeriodicTask) -> CrontabSchedule | None:
    try:
        crontab: CrontabSchedule | None = row.crontab
    except UNREADABLE_FIELD as error:
        raise ValueError(f"Its crontab cannot be read: {error}") from error
    return crontab


def crontab_text(crontab: CrontabSchedule) -> str:
    """Return the five fields of crontab(5)."""
    names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
    return " ".join("".join(str(getattr(crontab, name)).split()) for name in names)


def target_of(row: PeriodicTask) -> str:
    """Return the target that the runs of a row are for; empty for somebody else's task.

    What is no name of a target is one that can be stored: its runs fail, and say so.
    """
    if is_foreign(row.task):
        return ""
    given = arguments_of(row)
    target = given.get("target", "")
    return storable_name(target, LONGEST_TARGET) if isinstance(target, str) else ""


def arguments_of(row: PeriodicTask) -> dict[str, Any]:
    """Return the keyword arguments of a row's task; none where they cannot be read."""
    try:
        given = json.loads(row.kwargs or "{}")
    except ValueError:
        return {}
    return given if isinstance(given, dict) else {}


def policy_of(row: PeriodicTask) -> Policy:
    """Return the policy of a row; the defaults where it has none."""
    stored = _stored_policy(row)
    return default_policy(row.task) if stored is None else stored.policy


def default_policy(task: str) -> Policy:
    """Return the defaults. Somebody else's tasks overlap by default, as they did before."""
    return Policy(overlap=Overlap.ALLOW) if is_foreign(task) else Policy()


def _stored_policy(row: PeriodicTask) -> SchedulePolicy | None:
    try:
        stored: SchedulePolicy = row.maintenance_policy
    except SchedulePolicy.DoesNotExist:
        return None
    return stored
