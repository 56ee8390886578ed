"""The schedules that stand in the database, as the calendar reads them."""

from collections.abc import Collection, Iterable, Iterator
from datetime import datetime, timedelta
from itertools import islice

from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from maintenance.conf import Configuration
from maintenance.core.errors import MaintenanceError
from maintenance.core.runs.conditions import require_leave
from maintenance.core.runs.foreign_tasks import is_foreign
from maintenance.core.runs.ledger_database import ledger_connection
from maintenance.core.runs.registry import task_named
from maintenance.core.scheduling.calendar import Planned
from maintenance.core.scheduling.crontab_rows import with_crontabs
from maintenance.core.scheduling.definitions import UNREADABLE, Definition
from maintenance.core.scheduling.policies import Closure
from maintenance.core.scheduling.schedule_sync import NAME_PREFIX
from maintenance.core.scheduling.schedule_versions import defined
from maintenance.core.windows import Window
from maintenance.models import Blackout, Run

#: A run is expected to take what the last ones took, at the median.
LAST_RUNS = 5
#: A schedule that is due more often than each hour says little in a calendar, and hides the others. A
#: day on which the clocks are put back has 25.
MOST_SLOTS_A_DAY = 25

_DAY = timedelta(days=1)
_KINDS = ("interval", "solar", "clocked", "maintenance_policy")

# For each task and target the newest few, by the index of last successes: the others are not read.
_USUAL_SECONDS = """
SELECT wanted.task, wanted.target, percentile_cont(0.5) WITHIN GROUP (ORDER BY last.seconds)
FROM unnest(%s::text[], %s::text[]) AS wanted (task, target)
CROSS JOIN LATERAL (
    SELECT extract(epoch FROM finished_at - started_at)::float8 AS seconds
    FROM {table} AS run
    WHERE run.task = wanted.task AND run.target = wanted.target
        AND run.state = 'succeeded' AND run.started_at IS NOT NULL
    ORDER BY run.finished_at DESC
    LIMIT %s
) AS last
GROUP BY wanted.task, wanted.target
"""


def planned_schedules(configuration: Configuration) -> Iterator[Planned]:
    """Yield the schedules that are on, a site's own among them, with how long their runs take.

    Costs three queries. A row whose task or due times are not known any more is left out.
    """
    rows = PeriodicTask.objects.filter(enabled=True).select_related(*_KINDS).order_by("name")
    for _row, plan in planned_rows(with_crontabs(rows), configuration):
        yield plan


def planned_rows(
    rows: Iterable[PeriodicTask], configuration: Configuration
) -> Iterator[tuple[PeriodicTask, Planned]]:
    """Yield those of ``rows`` whose task and due times are known, as :func:`planned_schedules`.

    Costs one query; ``rows`` come with their kinds of schedule and their policy.
    """
    now = timezone.now()
    definitions = [(row, defined(row, row.last_run_at or now, None)) for row in rows]
    usual = _usual_seconds({(each.task, each.target) for _row, each in definitions})
    for row, definition in definitions:
        seconds = usual.get((definition.task, definition.target))
        try:
            plan = _planned(row.name, definition, seconds, configuration)
        except UNREADABLE:  # its runs, or its fault, say so
            continue
        yield row, plan


def is_frequent(plan: Planned, since: datetime) -> bool:
    """Tell whether a schedule is due more often than once an hour."""
    return slots_a_day(plan, since) > MOST_SLOTS_A_DAY


def slots_a_day(plan: Planned, since: datetime) -> int:
    """Return the slots of the day after ``since``, up to one more than :data:`MOST_SLOTS_A_DAY`."""
    first = islice(plan.due.between(since, since + _DAY), MOST_SLOTS_A_DAY + 1)
    return sum(1 for _due in first)


def coming_closures(since: datetime, until: datetime) -> list[Closure]:
    """Return the blackouts of a time."""
    blackouts = Blackout.objects.filter(ends_at__gt=since, starts_at__lt=until)
    return [Closure(b.starts_at, b.ends_at, b.reason, b.target) for b in blackouts]


def _planned(
    name: str, definition: Definition, seconds: float | None, configuration: Configuration
) -> Planned:
    """Return one schedule. Raises what :meth:`Definition.after` and ``task_named`` raise."""
    next(definition.after(timezone.now()), None)
    windows: tuple[Window, ...] = ()
    task, target, target_kind = definition.task, definition.target, ""
    pause = definition.policy.pause
    idle = f"will be skipped: paused {pause}" if pause else ""
    if not is_foreign(task):
        spec = task_named(task)
        task, target_kind = spec.short_name, spec.target_kind.value
        try:
            resolved = spec.resolve_target(configuration, target)
            require_leave(spec, target, resolved)
            windows = configuration.windows_of(resolved) if spec.writes else ()
        except MaintenanceError as error:
            idle = f"will be skipped: {error}"
    return Planned(
        name=name.removeprefix(NAME_PREFIX),
        task=task,
        target=f"{target_kind} {target}" if target else "",
        due=definition,
        cron=definition.cron(),
        windows=windows,
        seconds=seconds,
        idle=idle,
        schedule=name,
        target_name=target,
        policy=definition.policy,
    )


def _usual_seconds(wanted: Collection[tuple[str, str]]) -> dict[tuple[str, str], float]:
    """Return what the last runs took, by task and target, where any has succeeded."""
    pairs = sorted(wanted)
    statement = _USUAL_SECONDS.format(table=ledger_connection().ops.quote_name(Run._meta.db_table))
    with ledger_connection().cursor() as cursor:
        cursor.execute(
            statement,
            [[task for task, _ in pairs], [target for _, target in pairs], LAST_RUNS],
        )
        return {(task, target): seconds for task, target, seconds in cursor.fetchall()}
