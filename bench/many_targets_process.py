"""The process of the bench of many targets: measures, and prints its figures as JSON on the last line."""

import json
import logging
import statistics
import sys
import time
from io import StringIO

import django
import psutil

TICKS = 20


def main(targets: int) -> dict[str, float]:
    """Write the schedules of all targets, have a beat take them over, and measure it."""
    from django.core.management import call_command
    from django.db import connection
    from django_celery_beat.models import PeriodicTask

    from maintenance.core.evidence.liveness_look import look
    from maintenance.core.scheduling.scheduler import LedgerScheduler
    from service.celery import app

    call_command("migrate", verbosity=0)
    began = time.perf_counter()
    call_command("sync_schedules", verbosity=0, stdout=StringIO())
    sync_seconds = time.perf_counter() - began

    began = time.perf_counter()
    beat = LedgerScheduler(app=app, lazy=False)
    beat.tick()
    start_seconds = time.perf_counter() - began
    ticks: list[float] = []
    for _ in range(TICKS):
        beat._leadership._renewed_at = 0.0  # the next tick renews, and looks for edits
        began = time.perf_counter()
        beat.tick()
        ticks.append(time.perf_counter() - began)
    memory_bytes = psutil.Process().memory_full_info().pss
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        [connections] = cursor.fetchone()
    began = time.perf_counter()
    look()
    return {
        "targets": targets,
        "schedules": PeriodicTask.objects.filter(enabled=True).count(),
        "sync_seconds": sync_seconds,
        "start_seconds": start_seconds,
        "tick_ms": statistics.median(ticks) * 1000,
        "memory_bytes": memory_bytes,
        "connections": connections,
        "probe_seconds": time.perf_counter() - began,
    }


if __name__ == "__main__":
    django.setup()
    logging.disable(logging.WARNING)
    print(json.dumps(main(*map(int, sys.argv[1:]))))
