"""What the dashboard asks the ledger, in four queries whose cost does not grow with the history."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.db.models import Count, F, Window
from django.db.models.functions import RowNumber

from maintenance.core.evidence.liveness import LeaderFacts, Look, scheduler_report
from maintenance.core.findings import Severity
from maintenance.core.reports import Report
from maintenance.core.runs.ledger_database import ledger_connection
from maintenance.models import Leader, Run, RunState, StoredFinding

#: Runs at work and waiting that the page lists, each; the rest are counted.
MOST_ACTIVE = 8
#: Findings that the page lists, of different kinds.
MOST_DECISIONS = 8

_WORTH_A_DECISION = (Severity.CRITICAL.value, Severity.WARNING.value)

# Raw: hundreds of runs are one array here, and as many parameters to be checked one by one elsewhere.
_DECISIONS = """
SELECT found.*
FROM (
    SELECT id, run_id, fingerprint, code, severity, target, subject, sentence, advice, found_at,
           row_number() OVER (PARTITION BY severity, code ORDER BY found_at DESC, id) AS place,
           count(*) OVER (PARTITION BY severity, code) AS alike,
           count(*) OVER () AS total
    FROM {findings}
    WHERE run_id = ANY (%s::uuid[]) AND severity = ANY (%s) AND id <> ALL (%s::bigint[])
) AS found
WHERE place = 1
ORDER BY severity = 'critical' DESC, found_at DESC, id
LIMIT %s
"""


@dataclass(frozen=True, slots=True)
class Decision:
    """One finding that needs a person, for all of its kind: ``alike`` counts them, itself too."""

    finding: StoredFinding
    alike: int


@dataclass(frozen=True, slots=True)
class Active:
    """Runs at work and runs that wait, the first of each, and how many there are."""

    at_work: Sequence[Run]
    waiting: Sequence[Run]
    at_work_count: int
    waiting_count: int


def decisions(runs: Sequence[Any], muted: Sequence[int] = ()) -> tuple[list[Decision], int]:
    """Return what these runs found that needs a person, worst first, and how many there are in all.

    Those whose ids are ``muted`` are left out. Findings of one kind are one, so that a fault of many targets hides no other.
    """
    text = _DECISIONS.format(
        findings=ledger_connection().ops.quote_name(StoredFinding._meta.db_table)
    )
    named = [str(run) for run in runs]
    parameters = [named, list(_WORTH_A_DECISION), list(muted), MOST_DECISIONS]
    listed = list(StoredFinding.objects.raw(text, parameters))
    total = listed[0].__dict__["total"] if listed else 0
    return [Decision(each, each.__dict__["alike"]) for each in listed], total


def active(target: str) -> Active:
    """Return what is at work and what waits, what may begin first on top."""
    in_state = [F("state")]
    runs = Run.objects.filter(state__in=(RunState.RUNNING, RunState.QUEUED))
    if target:
        runs = runs.filter(target=target)
    found = list(
        runs.annotate(
            place=Window(
                RowNumber(),
                order_by=[F("available_at").asc(nulls_first=True), "queued_at"],
                partition_by=in_state,
            ),
            of_state=Window(Count("id"), partition_by=in_state),
        )
        .filter(place__lte=MOST_ACTIVE)
        .order_by("-state", "place")
        .defer("options", "failures")
    )
    at_work = [run for run in found if run.state == RunState.RUNNING]
    waiting = [run for run in found if run.state == RunState.QUEUED]
    return Active(at_work, waiting, _count(at_work), _count(waiting))


def _count(runs: Sequence[Run]) -> int:
    return int(runs[0].__dict__["of_state"]) if runs else 0


def ended_in_last_day(now: datetime, target: str) -> dict[str, int]:
    """Count the runs that were asked for in 24 hours and have ended, by state."""
    runs = Run.objects.filter(queued_at__gte=now - timedelta(days=1))
    if target:
        runs = runs.filter(target=target)
    counts = dict(runs.order_by().values_list("state").annotate(count=Count("id")))
    return {
        state: count
        for state, count in counts.items()
        if state not in {RunState.QUEUED, RunState.RUNNING}
    }


def scheduler(now: datetime, enabled: int) -> Report:
    """Judge the scheduler by its lease."""
    leader = Leader.objects.order_by("-expires_at").first()
    facts = (
        LeaderFacts(leader.holder, leader.since, leader.expires_at, leader.ticked_at)
        if leader is not None
        else None
    )
    return scheduler_report(Look(now=now, enabled=enabled, leader=facts))
