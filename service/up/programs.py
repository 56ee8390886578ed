"""The programs that make up the service: three workers, beat, the web process and Flower."""

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from service.up.processes import Program

#: Processes per queue, as the guide has its workers: much that is short, little that is long.
WORKERS: Mapping[str, int] = {"high": 4, "medium": 2, "low": 1}
#: Above celeryconfig's worker_soft_shutdown_timeout (30 s), which the worker itself keeps.
WORKER_PATIENCE_SECONDS = 40.0
FLOWER_USER = "admin"
ROOT = Path(__file__).resolve().parents[2]

#: What service.celery logs when a worker takes messages and when beat has begun.
READY_TEXT = "is ready for work"

#: Celery's advice about Ctrl-C, which does not reach the worker, and its word for the end that we
#: ask for.
UNSAID = ("worker: Hitting Ctrl+C", "worker: Cold shutdown")
CHATTER = ("INFO celery.", READY_TEXT)

BEAT, WEB, FLOWER, SITE = "beat", "web", "flower", "site"


def worker_name(queue: str) -> str:
    """Return the name of a queue's worker in the terminal."""
    return f"worker-{queue}"


def _celery(*arguments: str) -> tuple[str, ...]:
    return (sys.executable, "-m", "service.up.celery", *arguments)


def worker(queue: str, concurrency: int, *, is_quiet: bool = False) -> Program:
    """One worker that takes from one queue; a quiet one leaves out what it takes.

    Gossip and mingle are off: they exchange clocks and revoked tasks between workers, which the
    ledger makes needless, and mingle waits a second at each start.
    """
    return Program(
        name=worker_name(queue),
        command=_celery(
            "worker",
            *("--queues", queue),
            *("--concurrency", str(concurrency)),
            *("--hostname", f"{queue}@%h"),
            *("--pool", "prefork"),
            *("--loglevel", "WARNING"),
            "--without-gossip",
            "--without-mingle",
        ),
        # SIGTERM alone waits without limit for running work, and keeps none of Celery's soft
        # shutdown; remapped, work is finished within the limit or handed back to the broker.
        environment={"REMAP_SIGTERM": "SIGQUIT"},
        stop_patience_seconds=WORKER_PATIENCE_SECONDS,
        ready_text=READY_TEXT,
        unsaid=(*UNSAID, *CHATTER) if is_quiet else UNSAID,
    )


def beat() -> Program:
    """The scheduler. Its state is in the database, so it needs neither a file nor a pid file."""
    return Program(
        BEAT, _celery("beat", "--pidfile", "", "--loglevel", "WARNING"), ready_text=READY_TEXT
    )


def web(port: int) -> Program:
    """The admin, under gunicorn; loading before forking shares the memory of code."""
    return Program(
        WEB,
        (
            *(sys.executable, "-m", "gunicorn", "service.wsgi"),
            *("--config", "python:service.up.gunicorn_settings"),
            *("--bind", f"127.0.0.1:{port}"),
        ),
    )


def flower(port: int, password: str, folder: Path, web_port: int) -> Program:
    """Flower behind a login; its memory of past tasks survives in ``folder``.

    The login is handed over in the environment, which other users cannot read. Columns, and the link from
    a task to its run in the admin, stand in flowerconfig.py.
    """
    folder.mkdir(mode=0o700, exist_ok=True)
    return Program(
        FLOWER,
        (
            *(sys.executable, "-m", "celery", "--quiet", "--config=celeryconfig", "flower"),
            "--address=127.0.0.1",
            f"--port={port}",
            "--persistent=True",
            f"--db={folder / 'flower.db'}",
            "--state_save_interval=5000",  # ms; by default a killed Flower has forgotten all
            "--logging=warning",
            f"--conf={ROOT / 'flowerconfig.py'}",
        ),
        # Flower learns of tasks from the workers: without Django it takes half the memory.
        environment={
            "FLOWER_BASIC_AUTH": f"{FLOWER_USER}:{password}",
            "DJANGO_SETTINGS_MODULE": "",
            "MAINTENANCE_ADMIN_URL": f"http://127.0.0.1:{web_port}/admin/",
        },
    )


def sample_pages(port: int) -> Program:
    """The pages of the sample site, for its load test."""
    return Program(SITE, (sys.executable, "-m", "service.sample_site.pages", str(port)))


def child_environment() -> dict[str, str]:
    """Return the environment of every program: ours, with output as it happens."""
    return {
        **os.environ,
        "PYTHONUNBUFFERED": "1",
        # Many threads, little memory each: glibc would keep an arena per thread.
        "MALLOC_ARENA_MAX": "2",
        # Celery warns each worker of root's for the sake of pickle; here only JSON is accepted.
        "PYTHONWARNINGS": "ignore:You're running the worker",
    }


def stop_order() -> list[list[str]]:
    """Return the names in the order of the end: first who sends work, then who does it."""
    return [[BEAT], [worker_name(queue) for queue in WORKERS], [FLOWER], [WEB], [SITE]]
