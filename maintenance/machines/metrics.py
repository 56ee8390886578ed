"""What Prometheus is told: of runs, their slots, what they found and what they measured last.

All are gauges of the ledger as it is now, the same from every process that is asked. What is counted is
counted over the last day: the whole history is forgotten bit by bit, and its sums would fall.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_safe

from maintenance.conf import configuration
from maintenance.core.attention.standings import Standing, configured_pairs, standings
from maintenance.core.findings import Severity
from maintenance.core.redaction import redact
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.ledger_database import ledger_connection
from maintenance.core.runs.registry import PREFIX
from maintenance.machines.exposition import CONTENT_TYPE, Gauge, exposition
from maintenance.machines.tokens import with_token
from maintenance.models import Leader, Run, RunState, StoredFinding, StoredSample

#: Values of one scrape: tables and routes have a series each, and Prometheus pays for every one.
MOST_SAMPLES = 2000

_DAY = timedelta(days=1)

# One reading of the index of queued_at, as far as a day goes back.
_LAST_DAY = """
SELECT task, state, count(*),
       coalesce(sum(extract(epoch FROM finished_at - started_at)), 0)::float8,
       coalesce(max(extract(epoch FROM finished_at - started_at)), 0)::float8
FROM {runs}
WHERE queued_at >= %s AND state <> ALL (%s)
GROUP BY task, state
ORDER BY task, state
"""
_LATENESS = """
SELECT count(*),
       percentile_cont(ARRAY[0.5, 0.95, 0.99, 1.0]) WITHIN GROUP (
           ORDER BY greatest(extract(epoch FROM started_at - scheduled_for), 0)::float8
       )
FROM {runs}
WHERE queued_at >= %s AND scheduled_for IS NOT NULL AND started_at IS NOT NULL
"""
# Raw: thousands of runs are one array here, and as many parameters to be checked one by one elsewhere.
_FINDINGS = """
SELECT target, severity, count(*)
FROM {findings}
WHERE run_id = ANY (%s::uuid[]) AND measured
GROUP BY target, severity
"""
_SAMPLES = """
SELECT target, metric, subject, value
FROM {samples}
WHERE run_id = ANY (%s::uuid[])
ORDER BY subject, target, metric, measured_at DESC
LIMIT %s
"""
_QUANTILES = ("0.5", "0.95", "0.99", "1")


@with_token("metrics")
@require_safe
def metrics_view(_request: HttpRequest) -> HttpResponse:
    """Answer a scrape."""
    return HttpResponse(exposition(gauges()), content_type=CONTENT_TYPE)


def gauges() -> list[Gauge]:
    """Read the ledger in seven queries, whose cost does not grow with the history."""
    now = ledger_now()
    newest = list(standings(configured_pairs(configuration())).values())
    return [
        *_runs(now),
        *_lateness(now),
        *_waiting(),
        *_newest(newest),
        *_findings(newest),
        *_samples(newest),
        *_scheduler(now),
    ]


def _rows(text: str, parameters: Sequence[Any]) -> list[tuple[Any, ...]]:
    tables = {"runs": Run, "findings": StoredFinding, "samples": StoredSample}
    quoted = {n: ledger_connection().ops.quote_name(m._meta.db_table) for n, m in tables.items()}
    with ledger_connection().cursor() as cursor:
        cursor.execute(text.format(**quoted), parameters)
        return list(cursor.fetchall())


def _runs(now: datetime) -> Iterator[Gauge]:
    unfinished = [RunState.QUEUED.value, RunState.RUNNING.value]
    rows = [
        ({"task": _short(task), "state": state}, count, seconds, longest)
        for task, state, count, seconds, longest in _rows(_LAST_DAY, [now - _DAY, unfinished])
    ]
    yield Gauge(
        "maintenance_runs_last_day",
        "Runs that were asked for in the last 24 hours and have ended, by how.",
        tuple((labels, count) for labels, count, _seconds, _longest in rows),
    )
    yield Gauge(
        "maintenance_runs_last_day_duration_seconds",
        "Time that these runs were at work, all together.",
        tuple((labels, seconds) for labels, _count, seconds, _longest in rows),
    )
    yield Gauge(
        "maintenance_runs_last_day_longest_seconds",
        "Time that the longest of these runs was at work.",
        tuple((labels, longest) for labels, _count, _seconds, longest in rows),
    )


def _lateness(now: datetime) -> Iterator[Gauge]:
    [(count, quantiles)] = _rows(_LATENESS, [now - _DAY])
    if count:
        yield Gauge(
            "maintenance_slot_lateness_seconds",
            "From the due time of a slot to the start of its run, in the last 24 hours.",
            tuple(
                ({"quantile": name}, value)
                for name, value in zip(_QUANTILES, quantiles, strict=True)
            ),
        )


def _waiting() -> Iterator[Gauge]:
    states = {RunState.QUEUED.value: "waiting", RunState.RUNNING.value: "at_work"}
    counts = Counter(
        Run.objects.filter(state__in=list(states)).order_by().values_list("queue", "state")
    )
    for state, word in states.items():
        yield Gauge(
            f"maintenance_runs_{word}",
            f"Runs that are {word.replace('_', ' ')} now, by queue.",
            tuple(
                ({"queue": queue}, count)
                for (queue, of_state), count in sorted(counts.items())
                if of_state == state
            ),
        )


def _newest(newest: Iterable[Standing]) -> Iterator[Gauge]:
    labelled = [
        ({"task": _short(each.task), "target": each.target}, each)
        for each in newest
        if each.finished_at is not None
    ]
    yield Gauge(
        "maintenance_run_newest_timestamp_seconds",
        "When the newest run that looked has ended, in seconds since the epoch.",
        tuple(
            (labels, each.finished_at.timestamp()) for labels, each in labelled if each.finished_at
        ),
    )
    yield Gauge(
        "maintenance_run_newest_success",
        "1 where the newest run that looked has succeeded, 0 where it has failed.",
        tuple((labels, float(each.state == RunState.SUCCEEDED)) for labels, each in labelled),
    )


def _findings(newest: Sequence[Standing]) -> Iterator[Gauge]:
    looked = [str(each.run_id) for each in newest]
    counts = {(target, severity): n for target, severity, n in _rows(_FINDINGS, [looked])}
    targets = sorted({each.target for each in newest})
    yield Gauge(
        "maintenance_findings",
        "Findings of the newest runs, by target and severity.",
        tuple(
            (
                {"target": target, "severity": severity.value},
                counts.get((target, severity.value), 0),
            )
            for target in targets
            for severity in Severity
        ),
    )


def _samples(newest: Iterable[Standing]) -> Iterator[Gauge]:
    """Yield what the newest runs measured, those of a whole target before those of its parts."""
    found = _rows(_SAMPLES, [[str(each.run_id) for each in newest], MOST_SAMPLES + 1])
    values: dict[tuple[str, str, str], float] = {}
    for target, metric, subject, value in found[:MOST_SAMPLES]:
        values.setdefault((metric, target, subject), value)
    yield Gauge(
        "maintenance_sample",
        "What was measured last; the metric's name ends in its unit.",
        tuple((_sample_labels(*key), value) for key, value in values.items()),
    )
    yield Gauge(
        "maintenance_samples_cut",
        f"1 where there are more than {MOST_SAMPLES} samples, of which the rest is left out.",
        (({}, float(len(found) > MOST_SAMPLES)),),
    )


def _sample_labels(metric: str, target: str, subject: str) -> Mapping[str, str]:
    return {"metric": metric, "target": target, "subject": redact(subject)}


def _scheduler(now: datetime) -> Iterator[Gauge]:
    leader = Leader.objects.order_by("-expires_at").first()
    if leader is not None:
        seen = leader.ticked_at or leader.since
        yield Gauge(
            "maintenance_scheduler_silent_seconds",
            "Since the scheduler that leads has last written.",
            (({}, max((now - seen).total_seconds(), 0.0)),),
        )


def _short(task: str) -> str:
    return task.removeprefix(PREFIX)
