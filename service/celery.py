"""The service's Celery application."""

import importlib
import logging
import os
import signal as signals
import sys
from typing import Any

from celery import Celery
from celery.signals import beat_init, task_postrun, worker_init, worker_process_init, worker_ready

from maintenance.core.frozen_heap import collect_after_a_task, freeze_heap
from service.embedded.leash import EXIT_PARENT_GONE, ask_for_signal_on_parent_death
from service.niceness import step_back
from service.secret_files import adopt_secret_files
from service.signing import sign_messages

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "service.settings")

logger = logging.getLogger("maintenance.service")

adopt_secret_files()  # celeryconfig has the broker's address from the environment
app = Celery("service", task_cls="maintenance.core.runs.task:CheckedTask")
app.config_from_object("celeryconfig")
app.autodiscover_tasks()
sign_messages(app)  # reads the configuration, which is read at its first use otherwise
task_postrun.connect(collect_after_a_task)

_worker_pid: int | None = None


def configure_anew() -> None:
    """Read ``celeryconfig`` again: the environment has other servers than when this process began."""
    importlib.reload(importlib.import_module("celeryconfig"))
    app.config_from_object("celeryconfig", force=True)
    sign_messages(app)


@worker_init.connect
def prepare_to_fork(**_details: Any) -> None:
    """Note the process that pool children belong to, let them share its memory, and step back.

    Celery collects garbage before each fork. That writes to every object's header, and so copies
    nearly every page for every child; frozen objects are left alone (gc.freeze in Python's
    library reference).
    """
    global _worker_pid  # noqa: PLW0603 - one fact about this process, inherited by fork
    _worker_pid = os.getpid()
    step_back()
    freeze_heap()


@worker_process_init.connect
def end_with_the_worker(**_details: Any) -> None:
    """Let a pool child die with its worker.

    A worker killed with -9 would leave children behind that finish their task, while the ledger
    gives the run to somebody else.
    """
    if sys.platform == "linux":
        ask_for_signal_on_parent_death(signals.SIGKILL)
        if os.getppid() != _worker_pid:  # it died before the kernel was asked
            os._exit(EXIT_PARENT_GONE)


@worker_ready.connect
def say_worker_is_ready(sender: Any, **_details: Any) -> None:
    """Say that messages are taken from now on; ``up`` waits for this line."""
    logger.info("%s is ready for work", sender.hostname)


@beat_init.connect
def say_beat_is_ready(**_details: Any) -> None:
    """Say that schedules are looked after from now on."""
    logger.info("beat is ready for work")
