"""The process of the ledger's bench: measures, and prints its figures as JSON on the last line."""

import json
import logging
import multiprocessing
import statistics
import sys
import time
from datetime import datetime
from itertools import pairwise
from multiprocessing.synchronize import Event
from typing import Any

import django

#: Past runs are spread over so many days; the retention keeps the younger ones.
KEPT_DAYS = 390
OLD_FROM_DAYS, OLD_TO_DAYS = 420, 500

_FILL = """
INSERT INTO maintenance_run (
    id, task, target, options, queue, checklist, schedule, scheduled_for, trigger, actor, state,
    reason, attempt, failures, queued_at, published_at, started_at, finished_at, worker,
    heartbeat_at, cancel_requested, phase, progress_done, progress_total, progress_unit, severity,
    summary, resource, deaths, stands_for
)
SELECT
    gen_random_uuid(), task.name, 'site', '{}', 'low', 'daily', 'daily ' || task.name,
    moment.at, 'beat', '', CASE WHEN n %% 50 = 0 THEN 'failed' ELSE 'succeeded' END, '', 1, '[]',
    moment.at, moment.at, moment.at, moment.at + interval '3 seconds', 'worker@host', moment.at,
    false, 'done', 10, 10, 'tables', CASE WHEN n %% 9 = 0 THEN 'warning' ELSE 'ok' END,
    'All 20 tables are in order: nothing needs to be done.', task.name, 0, 1
FROM generate_series(1, %(count)s) AS n
CROSS JOIN LATERAL (SELECT now() - make_interval(
    secs => (%(to_days)s + (%(from_days)s - %(to_days)s) * n::float8 / %(count)s) * 86400
) AS at) AS moment
CROSS JOIN LATERAL (SELECT (%(tasks)s::text[])[1 + n %% %(task_count)s] AS name) AS task
"""
_REPORTS = """
INSERT INTO maintenance_storedreport (run_id, schema_version, body, state, files, created_at)
SELECT id, 1, '{"title": "Tables", "summary": "All 20 tables are in order."}', '{}', '[]', finished_at
FROM maintenance_run WHERE schedule <> '' ORDER BY queued_at
"""
_FINDINGS = """
INSERT INTO maintenance_storedfinding (
    run_id, fingerprint, code, severity, target, subject, sentence, advice, evidence, measured, found_at
)
SELECT id, left(md5(id::text), 16), 'table-bloat', 'warning', target, 'public.status',
    'Half of public.status is free.', '', '{}', true, finished_at
FROM maintenance_run WHERE severity = 'warning' AND schedule <> '' ORDER BY queued_at
"""


def main(runs: int, past_runs: int, old_runs: int, pages: int) -> dict[str, Any]:
    """Measure all, in order: what comes first meets an empty ledger."""
    from django.core.management import call_command

    call_command("migrate", verbosity=0)
    figures: dict[str, Any] = _overhead(runs)
    _fill(past_runs, old_runs)
    figures |= _list(pages)
    figures |= _retention(old_runs)
    return figures


def _one_run(number: int) -> tuple[float, float, float]:
    """Do what the ledger does for a run; return the milliseconds of claim, heartbeat and finish."""
    from maintenance.core.findings import Finding, Severity
    from maintenance.core.reports import Report, Sample
    from maintenance.core.runs import claims, ledger
    from maintenance.core.runs.ledger import Origin
    from maintenance.core.runs.registry import task_named
    from maintenance.models import RunState, Trigger

    spec = task_named("report_table_bloat")
    finding = Finding("table-bloat", Severity.INFO, "public.status", "A tenth of it is free.")
    report = Report("Bloat", "In order.", (finding,), samples=(Sample("bloat_ratio", 0.1, "a"),))
    run = ledger.create_run(spec, f"target {number % 7}", {}, Origin(Trigger.BEAT))
    moments = [time.perf_counter()]
    run = claims.claim(run.id, spec, run.target, {}, "worker@host")
    moments.append(time.perf_counter())
    ledger.heartbeat(run, phase="public.status", progress_done=1, progress_total=20)
    moments.append(time.perf_counter())
    ledger.finish(run, RunState.SUCCEEDED, report)
    moments.append(time.perf_counter())
    claim, heartbeat, finish = ((after - before) * 1000 for before, after in pairwise(moments))
    return claim, heartbeat, finish


def _overhead(runs: int) -> dict[str, float]:
    for number in range(20):  # connections, plans and imports
        _one_run(number)
    taken = [_one_run(number) for number in range(runs)]
    claim, heartbeat, finish = (statistics.median(one) for one in zip(*taken, strict=True))
    return {
        "overhead_ms": statistics.median(map(sum, taken)),
        "claim_ms": claim,
        "heartbeat_ms": heartbeat,
        "finish_ms": finish,
    }


def _fill(past_runs: int, old_runs: int) -> None:
    from django.db import connection

    from maintenance.core.runs.registry import TargetKind, all_tasks

    tasks = [spec.name for spec in all_tasks() if spec.target_kind is TargetKind.DATABASE]
    shared: dict[str, Any] = {"tasks": tasks, "task_count": len(tasks)}
    with connection.cursor() as cursor:
        for count, days in (
            (past_runs - old_runs, (0, KEPT_DAYS)),
            (old_runs, (OLD_FROM_DAYS, OLD_TO_DAYS)),
        ):
            spread = {"count": count, "to_days": days[0], "from_days": days[1]}
            cursor.execute(_FILL, {**shared, **spread})
        cursor.execute(_REPORTS)
        cursor.execute(_FINDINGS)
        cursor.execute("VACUUM ANALYZE")


def _list(pages: int) -> dict[str, float]:
    """Ask for the list's first page as a person's browser does."""
    from django.contrib.auth import get_user_model
    from django.test import Client
    from django.urls import reverse

    from bench.timed_pages import timed

    person = get_user_model().objects.create_superuser("bench", "bench@example.org", "bench")
    client = Client(headers={"host": "localhost"})
    client.force_login(person)
    page = timed(client, reverse("admin:maintenance_run_changelist"), pages)
    return {f"page_{name}": page[name] for name in ("ms", "queries", "query_ms")}


def _retention(old_runs: int) -> dict[str, Any]:
    """Let the retention delete what is old, beside runs of another process."""
    from django.db import connection

    from maintenance.core.job import Job
    from maintenance.core.runs.retention import RetentionOptions, trim_reports
    from maintenance.models import Run

    before = Run.objects.count()
    connection.close()
    ended = multiprocessing.get_context("spawn").Event()
    ours, theirs = multiprocessing.get_context("spawn").Pipe()
    beside = multiprocessing.get_context("spawn").Process(target=_go_on, args=(ended, theirs))
    beside.start()
    ours.recv()
    begin = time.perf_counter()
    report = trim_reports(Job("", None, RetentionOptions()))
    seconds = time.perf_counter() - begin
    ended.set()
    taken = ours.recv()
    beside.join()
    deleted = before + len(taken) - Run.objects.count()
    print(f"{report.summary} {datetime.now():%H:%M}", file=sys.stderr)  # noqa: DTZ005 - for a person
    if not 0.99 * old_runs <= deleted <= old_runs:
        raise RuntimeError(f"{deleted} of {old_runs} runs were deleted.")
    return {
        "retention_seconds": seconds,
        "beside_ms": max(taken),
        "beside_median_ms": statistics.median(taken),
        "beside_runs": len(taken),
    }


def _go_on(ended: Event, line: Any) -> None:
    """Do runs until the end, and send the milliseconds of each."""
    django.setup()
    for number in range(5):
        _one_run(number)
    line.send("ready")
    taken: list[float] = []
    while not ended.is_set():
        taken.append(sum(_one_run(len(taken))))
    line.send(taken)


if __name__ == "__main__":
    django.setup()
    logging.disable(logging.WARNING)
    print(json.dumps(main(*map(int, sys.argv[1:]))))
