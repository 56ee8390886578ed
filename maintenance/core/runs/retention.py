"""How long the ledger and the log store remember."""

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from django.db.models import QuerySet

from maintenance.conf import configuration
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import FollowUp, Report
from maintenance.core.runs.ledger import previous_state
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.ledger_database import ledger_connection, ledger_transaction
from maintenance.core.runs.registry import task_named
from maintenance.core.wording import counted
from maintenance.models import (
    TERMINAL_STATES,
    Alarm,
    Notification,
    NotificationState,
    Run,
)
from maintenance.reports.log_store import configured_store

#: What ``reports.retention_days`` counts in. Not a literal, so that a soak can have shorter ones.
DAY = timedelta(days=1)
#: Carried from run to run: before this moment runs were deleted, whatever the retention is today.
_TRIMMED_UNTIL = "trimmed_until"
#: Rows deleted in one transaction: short enough that no run waits for the lock.
ROWS_PER_BATCH = 1000
#: A run begins no batch after so long, well before its soft time limit: files of an object store cost a request
#: each. Another run goes on.
DELETING_SECONDS = 1200.0
#: Until it does, so that other work has its turn.
FOLLOW_UP_SECONDS = 60.0


# The newest run and the last success of each task and target, by a probe of an index for each pair
# and each of the two: see admin/latest_runs.py for why pairs are ranges. A DISTINCT ON would sort
# all runs ever made.
_KEPT = """
WITH RECURSIVE pair AS (
    (SELECT task, target FROM maintenance_run ORDER BY task, target LIMIT 1)
    UNION ALL
    SELECT following.task, following.target
    FROM pair
    CROSS JOIN LATERAL (
        SELECT task, target FROM maintenance_run
        WHERE (task, target) > (pair.task, pair.target)
        ORDER BY task, target
        LIMIT 1
    ) AS following
)
SELECT newest.id
FROM pair
CROSS JOIN LATERAL (
    SELECT id FROM maintenance_run
    WHERE (task, target) >= (pair.task, pair.target)
      AND (task, target) <= (pair.task, pair.target)
      AND state = ANY (%(ended)s)
    ORDER BY task, target, queued_at DESC
    LIMIT 1
) AS newest
UNION
SELECT success.id
FROM pair
CROSS JOIN LATERAL (
    SELECT id FROM maintenance_run
    WHERE (task, target) >= (pair.task, pair.target)
      AND (task, target) <= (pair.task, pair.target)
      AND state = 'succeeded'
    ORDER BY task, target, finished_at DESC
    LIMIT 1
) AS success
"""


_DELETE = "DELETE FROM {} WHERE {} = ANY (%s::uuid[])"


@dataclass(frozen=True, slots=True)
class RetentionOptions:
    """``dry_run`` counts what would go."""

    dry_run: bool = False


def trim_reports(job: Job[None, RetentionOptions]) -> Report:
    """Delete finished runs older than ``reports.retention_days``, with their files.

    The newest report of each task and target and its last success stay, however old: the next run
    compares with them. A run's samples go with it, so that no history reaches further back. What takes longer
    than :data:`DELETING_SECONDS` is left to a follow-up.
    Work grows with the number of rows deleted and of pairs of task and target, not with what stays.
    """
    oldest = ledger_now() - configuration().reports.retention_days * DAY
    report, deleted = _trim(job, oldest)
    before = _moment_of(job.previous_state)
    has_deleted = deleted > 0 or bool(job.steps.done())  # an attempt that was lost may have
    furthest = oldest if has_deleted and (before is None or before < oldest) else before
    state = {_TRIMMED_UNTIL: furthest.isoformat()} if furthest is not None else {}
    return replace(report, state=state)


def trimmed_until() -> datetime | None:
    """Return before which moment runs were deleted, ``None`` where none ever was. One query."""
    return _moment_of(previous_state(task_named("trim_reports"), ""))


def _moment_of(state: Mapping[str, Any]) -> datetime | None:
    found = state.get(_TRIMMED_UNTIL)
    return datetime.fromisoformat(found) if found else None


def _trim(job: Job[None, RetentionOptions], oldest: datetime) -> tuple[Report, int]:
    """Delete what is older; return the report, and how many runs were deleted."""
    days = configuration().reports.retention_days
    old_runs = _old_runs(oldest)
    total = old_runs.count()
    action = Action(
        kind="delete",
        subject="ledger and log store",
        statement=f"delete {total} runs that finished before {oldest:%Y-%m-%d}",
        reason=f"reports.retention_days is {days}",
        predicted={"runs": total},
    )
    title = "Retention of runs and reports"
    if total == 0:
        if not job.options.dry_run:
            _forget_messages(oldest)
        return Report(title, f"Nothing to delete: no run is older than {days} days."), 0
    if job.options.dry_run:
        outcome = Outcome(action, Verdict.PLANNED)
        return Report(title, f"{total} runs would be deleted.", outcomes=(outcome,)), 0

    _forget_messages(oldest)
    deleted = _delete_runs(job, old_runs, action, total)
    rest = max(total - deleted, 0)
    findings = (_unfinished(rest),) if rest else ()
    sentences = [f"{deleted} runs older than {days} days were deleted with their reports."]
    report = Report(
        title,
        " ".join([*sentences, *(finding.sentence for finding in findings)]),
        findings=findings,
        outcomes=(_outcome(action, total, deleted),),
        follow_up=FollowUp({}, FOLLOW_UP_SECONDS) if rest else None,
    )
    return report, deleted


def _delete_runs(
    job: Job[None, RetentionOptions], old_runs: QuerySet[Run], action: Action, total: int
) -> int:
    """Delete runs with their files until none or no time is left; return how many."""
    give_up_at = time.monotonic() + DELETING_SECONDS
    deleted = 0
    for ids, files in _batches(old_runs):
        job.progress.update(deleted, total, phase="deleting", unit="runs")
        configured_store().delete(files)
        job.progress.check()
        _delete(ids)
        deleted += len(ids)
        job.steps.record("deleted", _outcome(action, total, deleted))
        if time.monotonic() > give_up_at:
            break
    return deleted


def _outcome(action: Action, total: int, deleted: int) -> Outcome:
    after = {"runs": max(total - deleted, 0)}
    return Outcome(action, Verdict.WORKED, before={"runs": total}, after=after)


def _unfinished(rest: int) -> Finding:
    return Finding(
        code="retention-unfinished",
        severity=Severity.INFO,
        subject="ledger and log store",
        sentence=(
            f"{counted(rest, 'old run')} {'is' if rest == 1 else 'are'} left after"
            f" {DELETING_SECONDS / 60:.0f} minutes; another run goes on from there."
        ),
        evidence={"runs": rest},
        advice="Nothing needs to be done.",
    )


def _forget_messages(oldest: datetime) -> None:
    """Delete messages and alarms that are over: a few rows for each thing that went wrong.

    Messages of an open alarm stay: they say who was told.
    """
    open_ones = (NotificationState.PENDING, NotificationState.SENDING)
    old = Notification.objects.filter(created_at__lt=oldest).exclude(state__in=open_ones)
    old.exclude(alarm__isnull=False, alarm__resolved_at__isnull=True).delete()
    Alarm.objects.filter(resolved_at__lt=oldest, notifications=None).delete()


def _old_runs(oldest: datetime) -> QuerySet[Run]:
    """Return the runs to delete, in the order in which they were asked for.

    A run that ended before ``oldest`` was asked for before it: the index of that finds them.
    """
    with ledger_connection().cursor() as cursor:
        cursor.execute(_KEPT, {"ended": [str(state) for state in TERMINAL_STATES]})
        kept = [run_id for (run_id,) in cursor.fetchall()]
    old = Run.objects.filter(queued_at__lt=oldest, finished_at__lt=oldest)
    return old.filter(state__in=TERMINAL_STATES).exclude(id__in=kept).order_by("queued_at")


def _batches(runs: QuerySet[Run]) -> Iterator[tuple[list[UUID], list[str]]]:
    """Yield the ids of ``runs`` and the files of their reports, a batch at a time, each deleted before the next.

    Each begins where the one before ended, past the dead entries that it left in the index.
    """
    rest = runs
    while rows := list(rest.values_list("id", "queued_at", "report__files")[:ROWS_PER_BATCH]):
        yield [row[0] for row in rows], [name for row in rows for name in row[2] or ()]
        rest = runs.filter(queued_at__gte=rows[-1][1])


@ledger_transaction()
def _delete(ids: Sequence[UUID]) -> None:
    """Delete runs with everything that refers to them, in one transaction.

    The ids go as one list: Django's own cascade writes each of them into six statements, and reads
    the runs first.
    """
    listed = "{" + ",".join(map(str, ids)) + "}"
    keys = [relation.field for relation in Run._meta.related_objects]
    quoted = ledger_connection().ops.quote_name
    with ledger_connection().cursor() as cursor:
        for key in (*keys, Run._meta.pk):
            table, column = key.model._meta.db_table, str(key.column)
            cursor.execute(_DELETE.format(quoted(table), quoted(column)), [listed])
