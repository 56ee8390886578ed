"""Starts beats and workers within a moment: by fork from a process that has imported everything.

``python -m faults.zygote`` reads one order a line from its standard input, and answers each with the
process id. An importing start takes seconds of a processor, a thousand of them more than all faults.
Each process is as real as any other: of its own session, killed by its own id. All of them end with
the zygote, and the zygote with the driver.
"""

import gc
import json
import os
import signal
import sys
import threading
import time
from pathlib import Path
from typing import Any, NoReturn

import django

from service.embedded.leash import ask_for_signal_on_parent_death

#: Of the Debian package libfaketime; the faults of clocks are left out where it is missing.
FAKETIME = Path("/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1")


def main() -> None:
    """Fork on order until standard input ends."""
    django.setup()
    for module in ("celery.apps.worker", "celery.apps.beat", "celery.bin.celery"):
        __import__(module)
    __import__("celery.concurrency.prefork")
    __import__("kombu.transport.redis")
    __import__("django_celery_beat.schedulers")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel collects the dead
    gc.freeze()
    print(json.dumps({"pid": os.getpid()}), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        pid = os.fork()
        if pid == 0:
            become(order)
        print(json.dumps({"pid": pid}), flush=True)


def become(order: dict[str, Any]) -> None:
    """Turn this fork into the beat or the worker that was ordered; do not return."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        ask_for_signal_on_parent_death(signal.SIGKILL)
        _redirect(order["log"])
        os.environ.update(order["environment"])
        if order["clock"] or order["anew"]:
            _start_anew(order)
        work(order)
    except SystemExit as end:
        code = int(end.code or 0)
    except BaseException as error:  # noqa: BLE001 - a fork must never go on as its parent
        print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
    finally:
        os._exit(code)


def work(order: dict[str, Any]) -> NoReturn:
    """Be the beat or the worker that was ordered. Raises ``SystemExit`` at its end."""
    _point_to_servers()
    from faults.site import points

    points.install(order["role"])
    from faults.site.celery import app

    app.start(order["arguments"])
    raise SystemExit(0)


def _start_anew(order: dict[str, Any]) -> NoReturn:
    """Run this process again, importing all by itself; a library says what its clock is from its first moment."""
    clock = {
        "LD_PRELOAD": str(FAKETIME),
        "FAKETIME": order["clock"],
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }
    command = [sys.executable, "-m", "faults.zygote", json.dumps(order)]
    os.execve(sys.executable, command, {**os.environ, **(clock if order["clock"] else {})})


def _sleep_by_a_lock() -> None:
    """Let ``time.sleep`` wait in another way: libfaketime now and then has the system refuse its own."""

    def sleep(seconds: Any, /) -> None:
        threading.Event().wait(seconds)

    time.sleep = sleep


def _redirect(log: str) -> None:
    null, output = (
        os.open(os.devnull, os.O_RDONLY),
        os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND),
    )
    os.dup2(null, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def _point_to_servers() -> None:
    """Use the addresses of this process, which are those of its own proxies."""
    from django.conf import settings
    from django.db import connections

    from faults.site.celery import app
    from maintenance.conf import configuration

    port = os.environ["FAULTS_POSTGRES_PORT"]
    settings.DATABASES["default"]["PORT"] = port
    connections.settings["default"]["PORT"] = port
    broker = os.environ["FAULTS_BROKER_URL"]
    results = os.environ["FAULTS_RESULTS_URL"]
    app.conf.update(
        broker_url=broker,
        broker_read_url=broker,
        broker_write_url=broker,
        result_backend=results,
        beat_scheduler=os.environ["FAULTS_SCHEDULER"],
    )
    if not broker.startswith("redis:"):
        app.conf.broker_transport_options = {"connect_timeout": 2}
    else:
        options = app.conf.broker_transport_options
        options["visibility_timeout"] = int(os.environ["FAULTS_VISIBILITY_SECONDS"])
    configuration.cache_clear()


if __name__ == "__main__":
    if len(sys.argv) > 1:
        own_order = json.loads(sys.argv[1])
        if own_order["clock"]:
            _sleep_by_a_lock()
        django.setup()
        work(own_order)
    main()
