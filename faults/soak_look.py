"""What a stack holds at one moment: memory, files, connections, locks, rows, reports, and how runs ended."""

import time
from collections.abc import Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import psutil
import redis

from faults.stack import Node, Stack

#: These live from the beginning to the end.
KEPT = ("worker-a", "beat-a")
#: What "a day" of the retention is here: longer than the count of slots looks back.
DAY_SECONDS = 240.0
#: How long a run may outlive the retention: its task is due every five seconds.
GRACE_SECONDS = 60.0
#: What is at work at the moment of a look holds sessions of its own: the least of some looks is what stays.
LOOKS = 6
BETWEEN_LOOKS_SECONDS = 0.35
#: Streams that a trim has to shorten each time: so many, each with so many members.
STREAMS, MEMBERS = 20, 60

_CONNECTIONS = """
SELECT count(*) FROM pg_catalog.pg_stat_activity
WHERE backend_type = 'client backend' AND pid <> pg_catalog.pg_backend_pid()
"""
_STALE_LOCKS = """
SELECT count(*) FROM pg_catalog.pg_locks
JOIN pg_catalog.pg_stat_activity USING (pid)
WHERE state LIKE 'idle%%' AND state_change < pg_catalog.now() - interval '10 seconds'
"""
_RUNS = "SELECT count(DISTINCT execution) FROM marks WHERE node = %s AND kind = 'end'"


def look(stack: Stack, at_seconds: int) -> dict[str, Any]:
    """Return what is held: bytes, open files, connections, locks, rows. Takes two seconds."""
    looks = [_look(stack)]
    for _ in range(LOOKS - 1):
        time.sleep(BETWEEN_LOOKS_SECONDS)
        looks.append(_look(stack))
    return {
        "at_seconds": at_seconds,
        "runs": stack.ask("target", _RUNS, stack.nodes["worker-a"].pid)[0][0],
        "processes": _least([one["processes"] for one in looks]),
        **{
            name: min(one[name] for one in looks)
            for name in ("connections", "clients", "stale_locks")
        },
        **_rows(),
        **_reports(stack),
        "longest_stream": _longest_stream(stack),
    }


def _look(stack: Stack) -> dict[str, Any]:
    with redis.Redis.from_url(stack.valkey.url()) as client:
        clients = int(client.info("clients")["connected_clients"])
    return {
        "processes": {
            name: _held(process)
            for kept in KEPT
            for name, process in _processes(stack.nodes[kept]).items()
        },
        "connections": stack.ask("ledger", _CONNECTIONS)[0][0],
        "clients": clients,
        "stale_locks": stack.ask("ledger", _STALE_LOCKS)[0][0],
    }


def _least(looks: Sequence[dict[str, dict[str, int]]]) -> dict[str, dict[str, int]]:
    """Return the least of each figure of each process that is there in the last look."""
    least: dict[str, dict[str, int]] = {}
    for name, last in looks[-1].items():
        same = [one[name] for one in looks if one.get(name, {}).get("pid") == last["pid"]]
        least[name] = {figure: min(one[figure] for one in same) for figure in last}
    return least


def _processes(node: Node) -> dict[str, psutil.Process]:
    """Return a node's own process and its pool, by names that stay; nothing of one that is gone."""
    try:
        main = psutil.Process(node.pid)
        pool = sorted(main.children(recursive=True), key=lambda process: process.pid)
    except psutil.NoSuchProcess:
        return {}
    return {node.name: main} | {f"{node.name}, pool {n}": child for n, child in enumerate(pool, 1)}


def _held(process: psutil.Process) -> dict[str, int]:
    try:
        with process.oneshot():
            held = process.memory_full_info()
            return {
                "pid": process.pid,
                "pss_bytes": held.pss,
                "private_bytes": held.uss,
                "resident_bytes": held.rss,
                "files": process.num_fds(),
                "threads": process.num_threads(),
            }
    except psutil.NoSuchProcess:
        return dict.fromkeys(
            ("pid", "pss_bytes", "private_bytes", "resident_bytes", "files", "threads"), 0
        )


def _rows() -> dict[str, Any]:
    """Return the runs of the ledger, how they ended, and those that the retention should have deleted.

    The newest run and the last success of each task and target stay: the next one compares with them.
    """
    from django.db.models import Count

    from maintenance.core.runs.ledger_clock import ledger_now
    from maintenance.models import TERMINAL_STATES, Run

    oldest = ledger_now() - timedelta(seconds=DAY_SECONDS + GRACE_SECONDS)
    kept = 2 * Run.objects.values("task", "target").distinct().count()
    old = Run.objects.filter(finished_at__lt=oldest).count()
    ended = Run.objects.filter(state__in=TERMINAL_STATES).values_list("task", "state")
    return {
        "rows": Run.objects.count(),
        "overdue_rows": max(old - kept, 0),
        "ended": _by_task(ended.annotate(Count("id")).order_by("task", "state")),
    }


def _by_task(counted: Any) -> dict[str, dict[str, int]]:
    states: dict[str, dict[str, int]] = {}
    for task, state, count in counted:
        states.setdefault(task, {})[state] = count
    return states


def _reports(stack: Stack) -> dict[str, int]:
    """Return the files of reports, and those that no run of the ledger knows."""
    from maintenance.models import StoredReport

    # A run that ends meanwhile has its files before the ledger has their names.
    files = {path for path in stack.reports.rglob("*") if path.is_file()}
    known: set[str] = set()
    for names in StoredReport.objects.values_list("files", flat=True):
        known.update(names)
    unknown = [path for path in files if str(path.relative_to(stack.reports)) not in known]
    return {"files": len(files), "unknown_files": sum(map(_is_old, unknown))}


def _is_old(path: Path) -> bool:
    with suppress(FileNotFoundError):  # it was renamed or deleted meanwhile
        return path.stat().st_mtime < time.time() - GRACE_SECONDS
    return False


def plant_streams(stack: Stack) -> None:
    """Give the trim something to do."""
    with redis.Redis.from_url(stack.valkey.url(1)) as client:
        pipeline = client.pipeline(transaction=False)
        for stream in range(STREAMS):
            pipeline.zadd(f"home:{stream}", {str(n): n for n in range(MEMBERS)})
        pipeline.execute()


def _longest_stream(stack: Stack) -> int:
    with redis.Redis.from_url(stack.valkey.url(1)) as client:
        pipeline = client.pipeline(transaction=False)
        for stream in range(STREAMS):
            pipeline.zcard(f"home:{stream}")
        return max(map(int, pipeline.execute()))
