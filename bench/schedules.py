"""10,000 schedules of a site's own tasks: our scheduler beside django-celery-beat's, in the same run.

Both have the same rows, the same server and the same broker, one after the other. A tick with nothing due
is measured as the longest that there is: ours renews its lease and looks for edits at each, which it
does every two seconds otherwise. Then 1,000 rows come due at a full minute, and a second process counts
the messages in the queue.
"""

import json
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import redis

from bench.server import postgres_server
from service.embedded.valkey import EmbeddedValkey

ROOT = Path(__file__).resolve().parent.parent
SCHEDULES = 10_000
DUE = 1_000
TICKS = 60
QUEUE = "site"
#: The library goes through all rows for each that it sends; what it has not sent by then is counted.
PATIENCE_SECONDS = 60.0
#: Rows come due at a full minute that is at least so far away: both have read them by then.
HEAD_START_SECONDS = 5.0

TICK_LIMIT_MS = 50.0
PUBLISH_LIMIT_SECONDS = 5.0


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, peer, limit, met."""
    with tempfile.TemporaryDirectory(prefix="bench-schedules-") as folder:
        Path(folder).chmod(0o711)
        with (
            postgres_server() as postgres,
            EmbeddedValkey(Path(folder) / "valkey", secrets.token_hex(16)) as valkey,
        ):
            done = subprocess.run(
                [sys.executable, "-m", "bench.schedules", postgres.url(), valkey.url()],
                cwd=ROOT,
                capture_output=True,
                text=True,
                check=False,
            )
    if done.returncode != 0:
        raise RuntimeError(done.stderr)
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return _rows(figures["ours"], figures["stock"], figures["recorded"])


def _rows(ours: dict[str, Any], stock: dict[str, Any], recorded: int) -> list[dict[str, Any]]:
    tick_ms, seconds = ours["tick_ms"], ours["publish_seconds"]
    return [
        {
            "name": f"tick with nothing due, {SCHEDULES:,} schedules on, median",
            "value": round(tick_ms, 1),
            "unit": "ms",
            "peer": f"django-celery-beat {stock['tick_ms']:.1f} ms",
            "limit": f"under {TICK_LIMIT_MS:g}",
            "met": tick_ms < TICK_LIMIT_MS,
        },
        {
            "name": f"{DUE:,} of them due at once, until the last message is in the queue",
            "value": round(seconds, 2),
            "unit": "s",
            "peer": f"django-celery-beat {_of_stock(stock)}",
            "limit": f"under {PUBLISH_LIMIT_SECONDS:g}, none lost, a row for each",
            "met": seconds < PUBLISH_LIMIT_SECONDS and ours["sent"] == recorded == DUE,
        },
        {
            "name": f"start until the first tick is done, {SCHEDULES:,} schedules",
            "value": round(ours["start_seconds"], 1),
            "unit": "s",
            "peer": f"django-celery-beat {stock['start_seconds']:.1f} s",
            "limit": "",
            "met": True,
        },
    ]


def _of_stock(stock: dict[str, Any]) -> str:
    if stock["sent"] == DUE:
        return f"{stock['publish_seconds']:.1f} s"
    return f"{stock['sent']:,} in {PATIENCE_SECONDS:g} s"


# --- In a process of its own, which has Django ---


def _configure(postgres_url: str, valkey_url: str) -> Any:
    """Set Django and Celery up, write the tables, and return the Celery application."""
    import django  # noqa: PLC0415 - this process alone has settings
    from celery import Celery  # noqa: PLC0415
    from django.conf import settings  # noqa: PLC0415
    from django.core.management import call_command  # noqa: PLC0415
    from kombu import Queue  # noqa: PLC0415

    url = urlsplit(postgres_url)
    settings.configure(
        DATABASES={
            "default": {
                "ENGINE": "django.db.backends.postgresql",
                "NAME": url.path.lstrip("/"),
                "USER": url.username,
                "PASSWORD": url.password,
                "HOST": url.hostname,
                "PORT": url.port,
            }
        },
        INSTALLED_APPS=[
            "django.contrib.auth",
            "django.contrib.contenttypes",
            "django_celery_beat",
            "maintenance",
        ],
        USE_TZ=True,
        TIME_ZONE="UTC",
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        MAINTENANCE={},
    )
    django.setup()
    call_command("migrate", verbosity=0)
    app = Celery("site", broker=valkey_url)
    app.conf.update(
        task_queues=[Queue(QUEUE)], task_default_queue=QUEUE, timezone="UTC", result_expires=None
    )
    app.set_current()
    app.set_default()
    return app


def _write_schedules() -> None:
    """Write rows that are due at some other time of the day, in two hundred crontabs."""
    from django_celery_beat.models import CrontabSchedule, PeriodicTask  # noqa: PLC0415

    now = datetime.now(UTC)
    crontabs = CrontabSchedule.objects.bulk_create(
        CrontabSchedule(
            minute=str(number % 60), hour=str((now.hour + 2 + number % 20) % 24), timezone="UTC"
        )
        for number in range(200)
    )
    PeriodicTask.objects.bulk_create(
        (
            PeriodicTask(
                name=f"schedule {number}",
                task="site.touch",
                crontab=crontabs[number % len(crontabs)],
                args=f"[{number}]",
                last_run_at=now,
                date_changed=now,
            )
            for number in range(SCHEDULES)
        ),
        batch_size=1000,
    )


def _come_due() -> datetime:
    """Let some rows come due at a full minute; return which."""
    from django_celery_beat.models import CrontabSchedule, PeriodicTask, PeriodicTasks  # noqa: PLC0415

    now = datetime.now(UTC)
    minute = (now + timedelta(seconds=60 + HEAD_START_SECONDS)).replace(second=0, microsecond=0)
    crontab = CrontabSchedule.objects.create(
        minute=str(minute.minute), hour=str(minute.hour), timezone="UTC"
    )
    ids = PeriodicTask.objects.order_by("id").values_list("id", flat=True)[:DUE]
    PeriodicTask.objects.filter(id__in=list(ids)).update(
        crontab=crontab, last_run_at=now, date_changed=now
    )
    PeriodicTasks.update_changed()
    return minute


def _trial(make: Callable[[], Any], force_look: Callable[[Any], None], broker: redis.Redis) -> Any:
    begin = time.perf_counter()
    beat = make()
    beat.tick()
    start_seconds = time.perf_counter() - begin
    ticks: list[float] = []
    for _ in range(TICKS):
        force_look(beat)
        begin = time.perf_counter()
        beat.tick()
        ticks.append(time.perf_counter() - begin)
    minute = _come_due().timestamp()
    seconds = PATIENCE_SECONDS
    while time.time() < minute + PATIENCE_SECONDS:
        pause = beat.tick()
        if broker.llen(QUEUE) >= DUE:
            seconds = time.time() - minute
            break
        time.sleep(min(max(pause or 0.0, 0.0), 1.0))
    sent = broker.llen(QUEUE)
    beat.close()
    broker.delete(QUEUE)
    return {
        "start_seconds": start_seconds,
        "tick_ms": statistics.median(ticks) * 1000,
        "publish_seconds": seconds,
        "sent": sent,
    }


def _measure(postgres_url: str, valkey_url: str) -> dict[str, Any]:
    app = _configure(postgres_url, valkey_url)

    from django_celery_beat.schedulers import DatabaseScheduler  # noqa: PLC0415

    from maintenance.core.scheduling.scheduler import LedgerScheduler  # noqa: PLC0415
    from maintenance.models import Run  # noqa: PLC0415

    _write_schedules()
    broker = redis.Redis.from_url(valkey_url)

    def look(beat: LedgerScheduler) -> None:
        beat._leadership._renewed_at = 0.0

    ours = _trial(lambda: LedgerScheduler(app=app, lazy=False), look, broker)
    recorded = Run.objects.filter(state="sent").count()
    stock = _trial(lambda: DatabaseScheduler(app=app, lazy=False), lambda _beat: None, broker)
    return {"ours": ours, "stock": stock, "recorded": recorded}


if __name__ == "__main__":
    print(json.dumps(_measure(sys.argv[1], sys.argv[2])))
