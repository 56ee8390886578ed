"""The process of the dashboard's bench: fills a ledger, asks, and prints its figures as JSON on the last line."""

import json
import logging
import os
import re
import sys
from pathlib import Path
from typing import Any

import django

#: Past runs are spread over so many days.
DAYS = 390
SAMPLES_A_RUN = 5

_ADMIN = "/admin/maintenance/"

_RUNS = """
INSERT INTO maintenance_run (
    id, task, target, options, queue, checklist, schedule, scheduled_for, trigger, actor, state,
    reason, attempt, failures, queued_at, published_at, started_at, finished_at, worker,
    heartbeat_at, cancel_requested, phase, progress_done, progress_total, progress_unit, severity,
    summary, resource, deaths, stands_for
)
SELECT
    gen_random_uuid(), (%(tasks)s::text[])[1 + n %% %(pairs)s], (%(targets)s::text[])[1 + n %% %(pairs)s],
    '{}', 'low', 'daily', 'schedule ' || n %% %(pairs)s, moment.at, 'beat', '',
    CASE WHEN n %% 50 = 0 THEN 'failed' WHEN n %% 31 = 0 THEN 'skipped' ELSE 'succeeded' END, '', 1, '[]',
    moment.at, moment.at, moment.at + interval '2 seconds', moment.at + interval '9 seconds',
    'worker@host', moment.at, false, 'done', 10, 10, 'tables',
    CASE WHEN n %% 50 = 0 THEN 'critical' WHEN n %% 9 = 0 THEN 'warning' ELSE 'ok' END,
    'All 20 tables are in order: nothing needs to be done, and nothing has changed since the last look.',
    '', 0, 1
FROM generate_series(0, %(count)s - 1) AS n
CROSS JOIN LATERAL (
    SELECT now() - make_interval(secs => (1 - n::float8 / %(count)s) * %(days)s * 86400) AS at
) AS moment
"""
# Five numbers a run: key metrics where the task measures them, sizes of tables elsewhere.
_SAMPLES = """
INSERT INTO maintenance_storedsample (run_id, target, metric, subject, value, measured_at)
SELECT run.id, run.target,
    CASE
        WHEN run.task = 'maintenance.check_queue_depths' AND k < 3 THEN 'queue_depth_messages'
        WHEN known.metrics IS NOT NULL AND known.metrics[k + 1] IS NOT NULL THEN known.metrics[k + 1]
        ELSE 'relation_bytes'
    END,
    CASE
        WHEN run.task = 'maintenance.check_queue_depths' AND k < 3
            THEN (ARRAY['high', 'medium', 'low'])[k + 1]
        WHEN known.metrics IS NOT NULL AND known.metrics[k + 1] IS NOT NULL THEN ''
        ELSE 'public.table_' || k
    END,
    random(), run.finished_at
FROM maintenance_run AS run
CROSS JOIN generate_series(0, %(a_run)s - 1) AS k
LEFT JOIN LATERAL (
    SELECT CASE run.task
        WHEN 'maintenance.review_error_rates'
            THEN ARRAY['response_p95_seconds', 'response_p99_seconds', 'server_error_ratio']
        WHEN 'maintenance.review_activity' THEN ARRAY['active_connections_count']
        WHEN 'maintenance.review_database_cache_hit_ratio' THEN ARRAY['database_cache_hit_ratio']
        WHEN 'maintenance.review_cache_hit_ratios' THEN ARRAY['cache_hit_ratio']
        WHEN 'maintenance.check_redis_memory' THEN ARRAY['redis_used_memory_ratio']
    END AS metrics
) AS known ON true
ORDER BY run.queued_at
"""
_FINDINGS = """
INSERT INTO maintenance_storedfinding (
    run_id, fingerprint, code, severity, target, subject, sentence, advice, evidence, measured, found_at
)
SELECT id, left(md5(id::text), 16), 'code-' || mod(hashtext(task), 7), severity, target, 'public.status',
    'Half of public.status is free.', 'Rewrite it in a quiet hour.', '{}', true, finished_at
FROM maintenance_run WHERE severity IN ('warning', 'critical') AND state <> 'skipped' ORDER BY queued_at
"""
# Filled without them, and built afterwards, they take a fraction of the time.
_INDEXES = """
SELECT indexname, indexdef FROM pg_indexes
WHERE tablename IN ('maintenance_run', 'maintenance_storedsample', 'maintenance_storedfinding')
  AND indexname NOT IN (SELECT conname FROM pg_constraint)
"""
_ACTIVE = """
UPDATE maintenance_run SET state = 'queued', reason = 'waits for its window', finished_at = NULL,
    started_at = NULL, available_at = now() + interval '1 hour'
WHERE id IN (SELECT id FROM maintenance_run ORDER BY queued_at DESC LIMIT 40)
"""


def main(runs: int, pages: int) -> dict[str, Any]:
    """Fill, then measure."""
    from django.core.management import call_command

    from maintenance.conf import configuration
    from maintenance.core.scheduling.schedule_sync import sync_schedules

    call_command("migrate", verbosity=0)
    sync_schedules(configuration())
    figures: dict[str, Any] = {"runs": runs, "samples": _fill(runs)}
    return figures | _ask(pages)


def _fill(runs: int) -> int:
    from django.db import connection

    from maintenance.conf import configuration
    from maintenance.core.attention.standings import configured_pairs

    pairs = configured_pairs(configuration())
    hourly = [pair for pair in pairs if pair[0] == "maintenance.check_queue_depths"]
    of_brokers = min(len(hourly) * 24 * DAYS, runs // 2)
    with connection.cursor() as cursor:
        cursor.execute("SET session_replication_role = replica")  # no look at keys of other tables
        cursor.execute(_INDEXES)
        indexes = cursor.fetchall()
        for name, _definition in indexes:
            cursor.execute(f'DROP INDEX "{name}"')
        for some, count in ((hourly, of_brokers), (pairs, runs - of_brokers)):
            tasks, targets = zip(*some, strict=True)
            cursor.execute(
                _RUNS,
                {
                    "tasks": list(tasks),
                    "targets": list(targets),
                    "pairs": len(some),
                    "count": count,
                    "days": DAYS,
                },
            )
        cursor.execute(_SAMPLES, {"a_run": SAMPLES_A_RUN})
        samples = int(cursor.rowcount)
        cursor.execute(_FINDINGS)
        for _name, definition in indexes:
            cursor.execute(definition)
        cursor.execute(_ACTIVE)
        cursor.execute("SET session_replication_role = origin")
        cursor.execute("VACUUM ANALYZE")
    return samples


def _ask(pages: int) -> dict[str, Any]:
    from django.contrib.auth.models import Group, Permission, User
    from django.test import Client

    from bench.stored_report import IN_WORDS, run_at_work, store_reports
    from bench.timed_pages import timed

    group = Group.objects.create(name="bench")
    group.permissions.set(Permission.objects.filter(content_type__app_label="maintenance"))
    person = User.objects.create_user("bench", is_staff=True)
    person.groups.add(group)
    browser = Client(headers={"host": "localhost"})
    browser.force_login(person)
    program = Client(
        headers={"host": "localhost", "authorization": f"Bearer {os.environ['BENCH_TOKEN']}"}
    )
    addresses = {
        "all": _ADMIN,
        "one": f"{_ADMIN}?target=brokers_3",
        "list": f"{_ADMIN}run/",
        "report": f"{_ADMIN}run/{store_reports()}/change/",
        "poll": f"{_ADMIN}run/{run_at_work()}/progress/",
    }
    return {
        **{name: timed(browser, address, pages) for name, address in addresses.items()},
        "metrics": timed(program, "/metrics", pages),
        "api": timed(program, "/api/v1/runs/", pages),
        "static_kb": _static_kb(browser.get(addresses["all"]).content.decode()),
        "report_words": IN_WORDS,
        "report_static_kb": _static_kb(browser.get(addresses["report"]).content.decode()),
    }


def _static_kb(page: str) -> float:
    """Return what the styles, scripts and pictures of a page weigh."""
    from django.contrib.staticfiles import finders

    files = {
        name.split("?")[0]
        for name in re.findall(r'(?:href|src)="/static/([^"]+\.(?:css|js|svg))"', page)
    }
    found = [path for path in map(finders.find, files) if isinstance(path, str)]
    return sum(Path(path).stat().st_size for path in found) / 1000


if __name__ == "__main__":
    django.setup()
    logging.disable(logging.WARNING)
    print(json.dumps(main(*map(int, sys.argv[1:]))))
