"""Queued runs that wait for others of their schedule, and those that have waited for too long."""

from datetime import datetime

from django.db.models import Q, QuerySet

from maintenance.core.errors import LostLease
from maintenance.core.reports import ReportDocument
from maintenance.core.runs import claims, ledger
from maintenance.core.runs.end_reports import stop_report
from maintenance.core.scheduling.policies import WAITS_FOR
from maintenance.core.scheduling.slot_rows import HOLD
from maintenance.models import Run, RunState

#: So many overdue runs are ended at a look.
_OVERDUE_PER_LOOK = 200


def release_waiting(now: datetime) -> list[Run]:
    """Let those run whose runs before have ended, the earliest of each schedule; return them.

    Takes place within the leader's transaction. Costs a query over the queued runs, and four more where any
    waits: the work grows with the number of runs that have not ended, and not with the history.
    """
    schedules = list(_waiting().order_by().values_list("schedule", flat=True).distinct())
    if not schedules:
        return []
    unended = Run.objects.filter(
        schedule__in=schedules,
        scheduled_for__isnull=False,
        state__in=[RunState.QUEUED, RunState.RUNNING],
    )
    # Asked for by itself: beside the rows that wait the planner takes to it once for each of them.
    earliest = unended.order_by("schedule", "scheduled_for").distinct("schedule")
    ids = list(earliest.values_list("id", flat=True))
    free = list(_waiting().filter(id__in=ids).order_by("scheduled_for"))
    if free:
        _waiting().filter(id__in=ids).update(reason="", available_at=None)
    held_for_short = Q(available_at__isnull=True) | Q(available_at__lt=now + HOLD / 2)
    _waiting().filter(held_for_short).update(available_at=now + HOLD)
    return free


def _waiting() -> QuerySet[Run]:
    return Run.objects.filter(
        state=RunState.QUEUED, attempt=0, published_at=None, reason__startswith=WAITS_FOR
    )


def skip_overdue(now: datetime) -> list[tuple[Run, ReportDocument]]:
    """End queued runs whose deadline has passed before they started; return them with their reports.

    Takes place within the leader's transaction. A worker that gets one first ends it the same way.
    """
    overdue = Run.objects.filter(state=RunState.QUEUED, attempt=0, deadline_at__lt=now)
    # One that somebody has locked is left to the next look, so that a session which hangs holds up no beat.
    overdue = overdue.select_for_update(no_key=True, skip_locked=True)
    ended: list[tuple[Run, ReportDocument]] = []
    for run in overdue[:_OVERDUE_PER_LOOK]:
        reason = claims.overdue(run)
        report = stop_report(run, RunState.SKIPPED, reason)
        try:
            document = ledger.finish(run, RunState.SKIPPED, report, reason, keeps_files=False)
        except LostLease:  # a worker has just taken it
            continue
        ended.append((run, document))
    return ended
