"""What runs next. Schedules that share a task and its times are one line: hundreds of targets have few.

Three queries. The work grows with the number of different times and not with that of schedules.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.db.models import Count, F, Min, Q, QuerySet
from django_celery_beat.models import PeriodicTask

from maintenance.admin.wording import task_words
from maintenance.core.scheduling.crontab_rows import crontab_columns, crontab_of_columns
from maintenance.core.scheduling.definitions import UNREADABLE, Definition
from maintenance.core.scheduling.schedule_sync import NAME_PREFIX
from maintenance.core.scheduling.schedule_versions import crontab_text
from maintenance.core.scheduling.timetable import next_due_at
from maintenance.models import Blackout

#: Lines of the list.
MOST_COMING = 8
#: Schedules without a crontab (intervals, the sun, single moments) are asked one by one, so many of them.
MOST_OTHERS = 50

_PAUSED = Q(maintenance_policy__paused_at__isnull=False)


@dataclass(frozen=True, slots=True)
class Coming:
    """The next slot of ``count`` schedules of one task, ``paused`` of them; ``remark`` says what keeps it."""

    due_at: datetime
    task: str
    what: str
    count: int
    paused: int
    remark: str = ""


@dataclass(frozen=True, slots=True)
class Outlook:
    """The next slots, and how many schedules are on at all, paused ones among them."""

    coming: tuple[Coming, ...]
    enabled: int
    paused: int


def outlook(now: datetime, target: str = "") -> Outlook:
    """Return what runs next, of one target where it is given.

    A blackout is seen where all targets are meant or the one that is given; that work which writes waits
    for its window is not: the calendar has both.
    """
    rows = _rows(target)
    groups = list(
        rows.filter(crontab__isnull=False)
        .order_by()
        .values("task", "crontab_id", days=F("maintenance_policy__days"))
        .annotate(
            count=Count("id"),
            paused=Count("id", filter=_PAUSED),
            first_name=Min("name"),
            **crontab_columns("crontab__"),
        )
    )
    others = list(
        rows.filter(crontab__isnull=True)
        .select_related("interval", "solar", "clocked", "maintenance_policy")
        .order_by("-last_run_at", "name")[:MOST_OTHERS]
    )
    found = sorted(
        (*_of_groups(groups, now), *_of_others(others, now)),
        key=lambda each: (each.due_at, each.what),
    )[:MOST_COMING]
    return Outlook(
        coming=tuple(_with_blackouts(found, now, target)),
        enabled=sum(group["count"] for group in groups) + len(others),
        paused=sum(group["paused"] for group in groups) + sum(_is_paused(row) for row in others),
    )


def _rows(target: str) -> QuerySet[PeriodicTask]:
    rows: QuerySet[PeriodicTask] = PeriodicTask.objects.filter(enabled=True)
    return rows.filter(name__endswith=f" on {target}") if target else rows


def _of_groups(groups: Iterable[dict[str, Any]], now: datetime) -> Iterator[Coming]:
    for group in groups:
        crontab = crontab_of_columns(group)
        definition = Definition(
            task=group["task"],
            crontab=crontab_text(crontab),
            timezone=str(crontab.timezone),
            days=group["days"] or "",
        )
        try:
            due_at = next(definition.after(now), None)
        except UNREADABLE:  # the list of schedules says so
            continue
        if due_at is not None:
            yield Coming(
                due_at,
                group["task"],
                _what(group["task"], group["first_name"], group["count"]),
                group["count"],
                group["paused"],
            )


def _of_others(rows: Iterable[PeriodicTask], now: datetime) -> Iterator[Coming]:
    for row in rows:
        due_at = next_due_at(row, now)
        if due_at is not None:
            what = _what(row.task, row.name, 1)
            yield Coming(max(due_at, now), row.task, what, 1, int(_is_paused(row)))


def _what(task: str, name: str, count: int) -> str:
    """Return the name of a single schedule, or the task that several share."""
    words = task_words(task)
    if count > 1:
        return words
    _first, _on, target = name.rpartition(" on ")
    if name.startswith(NAME_PREFIX):
        return f"{words} · {target}" if _on else words
    return name


def _is_paused(row: PeriodicTask) -> bool:
    policy = getattr(row, "maintenance_policy", None)
    return policy is not None and policy.paused_at is not None


def _with_blackouts(found: Iterable[Coming], now: datetime, target: str) -> Iterator[Coming]:
    blackouts = list(
        Blackout.objects.filter(ends_at__gt=now).filter(Q(target="") | Q(target=target))
    )
    for each in found:
        reason = next((b.reason for b in blackouts if b.starts_at <= each.due_at < b.ends_at), "")
        yield Coming(each.due_at, each.task, each.what, each.count, each.paused, reason)
