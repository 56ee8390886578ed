"""The schedules that stand in the database, as the calendar reads them."""

from collections.abc import Iterator
from statistics import median

from django.db.models import F
from django.utils import timezone
from django_celery_beat.models import PeriodicTask

from maintenance.conf import Configuration
from maintenance.core.calendar import Planned
from maintenance.core.conditions import require_leave
from maintenance.core.cron import Cron
from maintenance.core.definitions import Definition
from maintenance.core.errors import MaintenanceError
from maintenance.core.registry import TaskSpec, task_named
from maintenance.core.schedule_sync import NAME_PREFIX
from maintenance.core.schedule_versions import defined
from maintenance.core.windows import Window
from maintenance.models import Run, RunState

#: A run is expected to take what the last ones took, at the median.
LAST_RUNS = 5


def planned_schedules(configuration: Configuration) -> Iterator[Planned]:
    """Yield our schedules that are on and have a crontab, with how long their runs take.

    Costs a query, and one for each schedule. A row whose task is not known any more is left out.
    """
    rows = PeriodicTask.objects.filter(
        name__startswith=NAME_PREFIX, enabled=True, crontab__isnull=False
    ).select_related("crontab", "maintenance_policy")
    for row in rows:
        try:
            spec = task_named(row.task)
        except MaintenanceError:
            continue
        definition = defined(row, timezone.now(), None)
        try:
            cron = definition.cron()
        except (MaintenanceError, ValueError):  # it names no days, and its runs say so
            continue
        if cron is not None:
            yield _planned(row.name, spec, definition, cron, configuration)


def _planned(
    name: str, spec: TaskSpec, definition: Definition, cron: Cron, configuration: Configuration
) -> Planned:
    windows: tuple[Window, ...] = ()
    target, pause = definition.target, definition.policy.pause
    idle = f"will be skipped: paused {pause}" if pause else ""
    try:
        resolved = spec.resolve_target(configuration, target)
        require_leave(spec, target, resolved)
        windows = configuration.windows_of(resolved) if spec.writes else ()
    except MaintenanceError as error:
        idle = f"will be skipped: {error}"
    return Planned(
        name=name.removeprefix(NAME_PREFIX),
        task=spec.short_name,
        target=f"{spec.target_kind} {target}" if target else "",
        cron=cron,
        windows=windows,
        seconds=_usual_seconds(spec, target),
        idle=idle,
    )


def _usual_seconds(spec: TaskSpec, target: str) -> float | None:
    ended = Run.objects.filter(
        task=spec.name, target=target, state=RunState.SUCCEEDED, started_at__isnull=False
    ).order_by("-finished_at")
    took = ended.annotate(took=F("finished_at") - F("started_at")).values_list("took", flat=True)
    seconds = [each.total_seconds() for each in took[:LAST_RUNS]]
    return median(seconds) if seconds else None
