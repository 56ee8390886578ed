"""Named points at which a process of the site under fire stops and waits for its fault.

A point costs one failed rename until the driver puts an order into the folder; the process that takes
the order, exactly one, says who it is and waits until the driver lets it go on, or kills it. So a fault
comes at its point every time, and never nearby.
"""

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from celery.signals import after_task_publish, before_task_publish, task_postrun, task_prerun
from django.db.backends.signals import connection_created

from faults.site import stock, without

#: Nobody waits for a process longer than this: its driver is gone.
LONGEST_WAIT_SECONDS = 120.0

_folder = Path(os.environ.get("FAULTS_POINTS", "/nonexistent"))
_role = ""


def reach(point: str, **details: Any) -> bool:
    """Stop here if the driver ordered it; return whether it had."""
    name = f"{_role}.{point}"
    order = _folder / f"{name}.order"
    taken = _folder / f"{name}.taken.{os.getpid()}"
    try:
        order.rename(taken)
    except FileNotFoundError:
        return False
    hit = _folder / f"{name}.hit"
    taken.write_text(json.dumps({"pid": os.getpid(), "group": os.getpgid(0), **details}))
    taken.rename(hit)
    give_up_at = time.monotonic() + LONGEST_WAIT_SECONDS
    while hit.exists() and time.monotonic() < give_up_at:
        time.sleep(0.002)
    return True


def install(role: str) -> None:
    """Let this process stop at the points of its role: ``beat`` or ``worker``."""
    global _role  # noqa: PLW0603 - one fact about this process
    _role = role
    connection_created.connect(_watch, weak=False)
    without.take_out()
    if role == "beat":
        stock.number_dispatches()
        before_task_publish.connect(_publishing("before_publish"), weak=False)
        after_task_publish.connect(_publishing("published"), weak=False)
    else:
        task_prerun.connect(_running("received"), weak=False)
        task_postrun.connect(_running("before_ack"), weak=False)


def _publishing(point: str) -> Callable[..., None]:
    def at(headers: dict[str, Any] | None = None, **_details: Any) -> None:
        reach(point, run=(headers or {}).get("id"))

    return at


def _running(point: str) -> Callable[..., None]:
    def at(task_id: str, **_details: Any) -> None:
        reach(point, run=task_id)

    return at


def _watch(connection: Any, **_details: Any) -> None:
    if _at_statement not in connection.execute_wrappers:
        connection.execute_wrappers.append(_at_statement)


def _at_statement(
    execute: Callable[..., Any], sql: str, params: Any, many: bool, context: Any
) -> Any:
    """Stop before or after the statements of the ledger that have a point."""
    before, after = _points_of(sql)
    if before:
        reach(before)
    result = execute(sql, params, many, context)
    if after:
        reach(after)
    return result


def _points_of(sql: str) -> tuple[str, str]:
    """Return the point before and the one after a statement; empty where there is none."""
    text = sql.lstrip()
    changes, _where, _condition = text.partition(" WHERE ")
    return _of_beat(text, changes) if _role == "beat" else _of_worker(text)


def _of_beat(text: str, changes: str) -> tuple[str, str]:
    if "maintenance_leader" in changes and text.startswith("UPDATE"):
        return "renewing", ""
    if text.startswith('INSERT INTO "maintenance_run"'):
        return "", "recording"
    if changes.startswith('UPDATE "maintenance_run"'):
        return ("", "mending") if '"state" =' in changes else ("confirming", "")
    return "", ""


def _of_worker(text: str) -> tuple[str, str]:
    if not text.startswith("UPDATE maintenance_run"):
        return "", ""
    if " finished_at = pg_catalog" in text:  # the run has ended, its report is not there yet
        return "", "report_half_written"
    if " started_at = pg_catalog" in text:
        return "claiming", ""
    if text.split(maxsplit=4)[3] == "heartbeat_at":
        return "heartbeat", ""
    return "", ""
