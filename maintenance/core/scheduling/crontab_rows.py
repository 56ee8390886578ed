"""django-celery-beat's crontabs, read as they are stored, whatever time zone stands in one.

Its field makes a time zone of the name as a row is read, and one name that this machine does not know (an
older tzdata, a ledger that was moved) would take away every row that is read with it. Here it stays a name:
what computes due times refuses it, by itself and in words (see ``definitions``).
"""

from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from django.db.models import CharField, F
from django.db.models.functions import Cast
from django_celery_beat.models import CrontabSchedule, PeriodicTask

_FIELDS = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week", "timezone")

_Row = TypeVar("_Row", bound=PeriodicTask)


def crontab_columns(prefix: str = "") -> dict[str, F | Cast]:
    """Return the fields of what ``prefix`` leads to for ``values()``, as ``cron_minute`` and so on."""
    columns: dict[str, F | Cast] = {f"cron_{name}": F(f"{prefix}{name}") for name in _FIELDS}
    return columns | {"cron_timezone": Cast(f"{prefix}timezone", CharField())}


def crontab_of_columns(row: dict[str, Any]) -> CrontabSchedule:
    """Return a crontab of what :func:`crontab_columns` read. Its ``timezone`` is a name."""
    crontab = CrontabSchedule(pk=row.get("pk"))
    # Set by name, the field would make a time zone of it, or fail.
    crontab.__dict__.update({name: row[f"cron_{name}"] for name in _FIELDS})
    return crontab


def stored_crontabs(ids: Iterable[int] | None = None) -> Iterator[CrontabSchedule]:
    """Yield crontabs by their keys, all of them where none are given. Costs one query."""
    rows = CrontabSchedule.objects.order_by("pk")
    if ids is not None:
        rows = rows.filter(pk__in=set(ids))
    for row in rows.values("pk", **crontab_columns()):
        yield crontab_of_columns(row)


def with_crontabs(rows: Iterable[_Row]) -> list[_Row]:
    """Return ``rows``, read without their crontabs, with them. Costs one query."""
    found = list(rows)
    ids = {row.crontab_id for row in found if row.crontab_id is not None}
    crontabs = {each.pk: each for each in stored_crontabs(ids)} if ids else {}
    for row in found:
        if row.crontab_id in crontabs:
            row.crontab = crontabs[row.crontab_id]
    return found
