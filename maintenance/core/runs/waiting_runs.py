"""Queued runs that wait for others of their schedule, and those that have waited for too long."""

from datetime import datetime

from django.db.models import Exists, OuterRef, QuerySet

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

    Takes place within the leader's transaction. Costs a query over the queued runs, and one more for
    those that change.
    """
    before = Run.objects.filter(
        schedule=OuterRef("schedule"),
        scheduled_for__lt=OuterRef("scheduled_for"),
        state__in=[RunState.QUEUED, RunState.RUNNING],
    )
    waiting = list(_waiting().annotate(is_blocked=Exists(before)).order_by("scheduled_for"))
    free: list[Run] = [run for run in waiting if not run.is_blocked]
    ending = [run.id for run in waiting if run.is_blocked and _is_held_for_short(run, now)]
    if free:
        _waiting().filter(id__in=[run.id for run in free]).update(reason="", available_at=None)
    if ending:
        _waiting().filter(id__in=ending).update(available_at=now + HOLD)
    return free


def _waiting() -> QuerySet[Run]:
    return Run.objects.filter(
        state=RunState.QUEUED, attempt=0, published_at=None, reason__startswith=WAITS_FOR
    )


def _is_held_for_short(run: Run, now: datetime) -> bool:
    return run.available_at is None or run.available_at < now + HOLD / 2


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
            ended.append((run, ledger.finish(run, RunState.SKIPPED, report, reason)))
        except LostLease:  # a worker has just taken it
            continue
    return ended
