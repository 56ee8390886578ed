"""Reading schedules into the leader's book: all of them once, and those that were changed since.

A schedule that is another one from some moment on has its slots before that moment decided as it was.
Then the new version is written, and it has the slots from there.
"""

import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django_celery_beat.models import PeriodicTask

from maintenance.core.scheduling.leadership import Leadership
from maintenance.core.scheduling.schedule_book import (
    Book,
    Held,
    change_mark,
    changed_version,
    cursor_of,
    first_version,
    last_slots,
    last_versions,
    read_rows,
    row_states,
)
from maintenance.core.scheduling.schedule_versions import Version
from maintenance.core.scheduling.slot_rows import store_versions, version_rows
from maintenance.models import ScheduleVersion

#: Decides all slots of schedules before a moment.
Settle = Callable[[Sequence[Held], datetime], None]

Mark = tuple[Any, ...]

logger = logging.getLogger("maintenance.scheduler")

_INSTANT = timedelta(microseconds=1)
_VERSIONS_PER_TRANSACTION = 500


@dataclass(frozen=True, slots=True)
class _Change:
    """What was held ``before`` of a schedule, and its new version, ``None`` where it is the same one."""

    before: Held | None
    version: Version | None
    row: PeriodicTask | None


def read_everything(leadership: Leadership, settle: Settle) -> Book:
    """Return all schedules, with what was changed while nobody led. Work grows with their number."""
    mark, states = change_mark(), row_states()
    book = Book(states=states, mark=mark)
    versions = last_versions()
    is_first_start = not ScheduleVersion.objects.exists()
    changes: list[_Change] = []
    for rows in read_rows(states):
        now = leadership.renew()
        before = _held_before(rows, versions, now)
        for row in rows:
            changes += _read(row, before.get(row.name), mark, now, is_first_start=is_first_start)
            versions.pop(row.name, None)
    changes += _gone(versions, mark, leadership.renew())
    # All first versions at once: where there are some, it is not the first start any more.
    at_once = len(changes) if is_first_start else _VERSIONS_PER_TRANSACTION
    _apply(changes, book, leadership, settle, versions_at_once=max(at_once, 1))
    return book


def look_for_changes(
    book: Book, leadership: Leadership, settle: Settle, *, thoroughly: bool = False
) -> None:
    """Take over what was changed since the last look. Costs a short query where nothing was.

    ``thoroughly`` also finds what was written past Django, which leaves no mark.
    """
    mark = change_mark()
    if mark == book.mark and not thoroughly:
        return
    states = row_states()
    changed = [row_id for row_id, state in states.items() if book.states.get(row_id) != state]
    now = leadership.renew()
    names = {states[row_id][0] for row_id in states}
    changes = [
        _Change(held, _changed(held, None, mark, now), None)
        for held in book.held.values()
        if held.name not in names
    ]
    for rows in read_rows(changed):
        now = leadership.renew()
        for row in rows:
            changes += _read(row, book.held.get(row.name), mark, now)
    _apply(changes, book, leadership, settle)
    book.mark, book.states = mark, states


def _read(
    row: PeriodicTask,
    held: Held | None,
    mark: Mark,
    now: datetime,
    *,
    is_first_start: bool = False,
) -> list[_Change]:
    """Return what a row changes; nothing where it cannot be read, which must not stop the others."""
    try:
        if held is not None:
            return [_Change(held, _changed(held, row, mark, now), row)]
        if row.enabled:
            return [_Change(None, first_version(row, now, is_first_start=is_first_start), row)]
    except (ArithmeticError, TypeError, ValueError) as error:
        logger.error("The schedule %s cannot be read and stays as it was: %s", row.name, error)
    return [_Change(held, None, row)] if held is not None else []


def _gone(versions: Mapping[str, Version], mark: Mark, now: datetime) -> list[_Change]:
    """Return the end of schedules whose rows are gone; what they missed before is decided yet."""
    ended = [version for version in versions.values() if version.definition is not None]
    ran = last_slots(version.schedule for version in ended)
    changes: list[_Change] = []
    for version in ended:
        held = _hold(version, None, now)
        held.move(ran.get(version.schedule, held.cursor))
        changes.append(_Change(held, _changed(held, None, mark, now), None))
    return changes


def _held_before(
    rows: Iterable[PeriodicTask], versions: Mapping[str, Version], now: datetime
) -> dict[str, Held]:
    """Return schedules as they were when somebody led last."""
    known = [row for row in rows if row.name in versions]
    # Switching a row off and on again in the admin forgets when it ran last.
    ran = last_slots(row.name for row in known if row.last_run_at is None)
    held = {row.name: _hold(versions[row.name], row, now) for row in known}
    for name, slot in ran.items():
        held[name].move(slot)
    return held


def _hold(version: Version, row: PeriodicTask | None, now: datetime) -> Held:
    row_id = row.pk if row is not None else 0
    held = Held(version.schedule, row_id, version, cursor_of(version, row, now), row)
    held.move(held.cursor)
    return held


def _changed(held: Held, row: PeriodicTask | None, mark: Mark, now: datetime) -> Version | None:
    return changed_version(held.version, row, mark[0], (held.cursor + _INSTANT, now))


def _apply(
    changes: Sequence[_Change],
    book: Book,
    leadership: Leadership,
    settle: Settle,
    *,
    versions_at_once: int = _VERSIONS_PER_TRANSACTION,
) -> None:
    for change in changes:
        if change.before is not None and change.version is not None:
            settle([change.before], change.version.since - _INSTANT)
    # Made before the transaction: in it the server takes a long silence for a leader that hangs.
    new = version_rows(change.version for change in changes if change.version is not None)
    for start in range(0, len(new), versions_at_once):
        with leadership.fenced():
            store_versions(new[start : start + versions_at_once])
    for change in changes:
        _put(change, book)


def _put(change: _Change, book: Book) -> None:
    held, version, row = change.before, change.version, change.row
    if row is None:
        if held is not None:
            book.drop(held.name)
        return
    if version is not None:
        cursor = version.since - _INSTANT
        if held is None and row.last_run_at is not None:
            cursor = max(cursor, min(row.last_run_at, version.since))
        held = Held(version.schedule, row.pk, version, cursor, row)
        held.move(cursor)
    assert held is not None
    held.row, held.row_id = row, row.pk
    if version is None and held.fault:
        held.take_back()
    book.put(held)
