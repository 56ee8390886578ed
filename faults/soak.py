"""``make soak``: the stack at work for an hour, with faults, and whether anything of it grows.

Schedules are due every second; a worker and a beat live through all of it, with no recycling of pool processes,
while others are killed, servers restart, and lines are cut. After each fault, when everything that was due has
ended, memory, files, connections, locks and rows are looked at. Figures go to docs/soak.json, and from there
into docs/reliability.md.
"""

import argparse
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import django
import psutil
import redis

from faults import soak_figures, table
from faults.batch import wait_for_work
from faults.fire import Fire, Kind
from faults.proxy import Line
from faults.services import BY_NAME as SERVERS
from faults.stack import Node, Stack, Variant

#: Two workers, so that the one that lives through all of it has 5,000 runs within the hour.
NAMES = ("beat-a", "beat-b", "worker-a", "worker-b")
#: These live from the beginning to the end.
KEPT = ("worker-a", "beat-a")
#: What "a day" of the retention is here: longer than the count of slots looks back.
DAY_SECONDS = 240.0
#: How long a run may outlive the retention: its task is due every five seconds.
GRACE_SECONDS = 60.0
#: Of undisturbed work between two faults.
PAUSE_SECONDS = 20.0

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


def _kill(name: str) -> Kind:
    def hurt(fire: Fire) -> None:
        time.sleep(fire.random.uniform(0.0, 1.0))
        fire.fault_at = time.time()
        fire.kill(fire.stack.nodes[name])

    return Kind(f"{name} killed", "", hurt)


def _cut(name: str, server: str) -> Kind:
    """Cut a node off for two seconds, which is less than its lease."""

    def hurt(fire: Fire) -> None:
        node = fire.stack.nodes[name]
        proxy = node.ledger if server == "ledger" else node.broker
        fire.disturb(node)
        fire.fault_at = time.time()
        proxy.set(Line.CUT)
        time.sleep(2.0)
        proxy.set(Line.OPEN)

    return Kind(f"{name} cut off the {server}", "", hurt)


def _stop(name: str) -> Kind:
    """Stop a node for longer than its lease."""

    def hurt(fire: Fire) -> None:
        node = fire.stack.nodes[name]
        fire.disturb(node)
        fire.fault_at = time.time()
        fire.stack.signal(node, signal.SIGSTOP)
        time.sleep(5.0)
        fire.stack.signal(node, signal.SIGCONT)

    return Kind(f"{name} stopped", "", hurt)


def _nothing(fire: Fire) -> None:
    fire.fault_at = time.time()


QUIET = Kind("nothing", "", _nothing)
KINDS = (
    _kill("worker-b"),
    _kill("beat-b"),
    _stop("beat-a"),
    _stop("worker-b"),
    _cut("worker-a", "ledger"),
    _cut("worker-a", "broker"),
    _cut("beat-a", "ledger"),
    SERVERS["broker restarted"],
    SERVERS["database restarted"],
)


def soak(minutes: float, seed: int, pause_seconds: float) -> dict[str, Any]:
    """Run the stack for so long; return what docs/soak.json holds. A stack that broke leaves its folder."""
    os.environ["DJANGO_SETTINGS_MODULE"] = "faults.site.settings"
    root = Path(tempfile.mkdtemp(prefix="soak-"))
    root.chmod(0o711)
    variant = Variant(day_seconds=DAY_SECONDS, recycles=False, starts_anew=True)
    with Stack(root, variant) as stack:
        stack.names = NAMES
        django.setup()
        found = _endure(stack, minutes, seed, pause_seconds)
    if not found["violations"]:
        shutil.rmtree(root)
    else:
        print(f"The logs are in {root}.", flush=True)
    return found


def _endure(stack: Stack, minutes: float, seed: int, pause_seconds: float) -> dict[str, Any]:
    from faults import site_rows

    _prepare(stack, site_rows.LINES["soak"])
    began, began_at = time.monotonic(), time.time()
    fire = Fire(stack, seed)
    samples, faults, violations, slots = list[Any](), list[str](), list[Any](), 0
    while (passed := time.monotonic() - began) < minutes * 60 or not samples:
        is_last = passed + pause_seconds >= minutes * 60
        kind = QUIET if is_last or not samples else fire.random.choice(KINDS)
        episode = fire.run(kind)
        slots += episode.slots
        violations += episode.violations
        if kind is not QUIET:
            faults.append(kind.name)
        samples.append(look(stack, round(time.time() - began_at)))
        _say(kind, episode.violations, samples[-1])
        if episode.error:
            break
        time.sleep(pause_seconds)
    return {
        "taken": table.taken(f"{slots:,} slots", seed, (time.monotonic() - began) / 60),
        "slots": slots,
        "violations": len(violations),
        "what_was_broken": violations,
        "faults": faults,
        "day_seconds": DAY_SECONDS,
        "samples": samples,
    }


def _prepare(stack: Stack, lines: Sequence[Any]) -> None:
    from django.core.management import call_command

    from faults import site_rows

    call_command("migrate", verbosity=0)
    site_rows.prepare_target(stack)
    site_rows.write_lines(lines)
    stack.start_zygote()
    stack.start(*stack.names)
    wait_for_work(stack)


def look(stack: Stack, at_seconds: int) -> dict[str, Any]:
    """Return what is held at this moment: bytes, open files, connections, locks, rows."""
    processes = {
        name: _memory(process)
        for kept in KEPT
        for name, process in _processes(stack.nodes[kept]).items()
    }
    with redis.Redis.from_url(stack.valkey.url()) as client:
        clients = int(client.info("clients")["connected_clients"])
    return {
        "at_seconds": at_seconds,
        "runs": stack.ask("target", _RUNS, stack.nodes["worker-a"].pid)[0][0],
        "processes": processes,
        "connections": stack.ask("ledger", _CONNECTIONS)[0][0],
        "clients": clients,
        "stale_locks": stack.ask("ledger", _STALE_LOCKS)[0][0],
        **_rows(),
    }


def _rows() -> dict[str, int]:
    """Return the runs of the ledger, and those that the retention should have deleted.

    The newest run and the last success of each task and target stay: the next one compares with them.
    """
    from maintenance.core.runs.ledger_clock import ledger_now
    from maintenance.models import Run

    oldest = ledger_now() - timedelta(seconds=DAY_SECONDS + GRACE_SECONDS)
    kept = 2 * Run.objects.values("task", "target").distinct().count()
    old = Run.objects.filter(finished_at__lt=oldest).count()
    return {"rows": Run.objects.count(), "overdue_rows": max(old - kept, 0)}


def _processes(node: Node) -> dict[str, psutil.Process]:
    """Return a node's own process and its pool, by names that stay."""
    main = psutil.Process(node.pid)
    pool = sorted(main.children(recursive=True), key=lambda process: process.pid)
    return {node.name: main} | {f"{node.name}, pool {n}": child for n, child in enumerate(pool, 1)}


def _memory(process: psutil.Process) -> dict[str, int]:
    held = process.memory_full_info()
    return {
        "pid": process.pid,
        "pss_bytes": held.pss,
        "private_bytes": held.uss,
        "resident_bytes": held.rss,
        "files": process.num_fds(),
        "threads": process.num_threads(),
    }


def _say(kind: Kind, violations: Sequence[Any], sample: dict[str, Any]) -> None:
    held = sum(process["pss_bytes"] for process in sample["processes"].values())
    print(
        f"{sample['at_seconds']:5} s  run {sample['runs']:5}  {soak_figures.mib(held):>9}"
        f"  {sample['rows']:5} rows  after: {kind.name}",
        *(f"  VIOLATION {one['invariant']}: {one['what']}" for one in violations),
        sep="\n",
        flush=True,
    )


def main(arguments: Sequence[str]) -> int:
    """Soak, print and keep the figures; return 1 where a limit was passed."""
    parser = argparse.ArgumentParser(prog="make soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--seed", type=int, default=1, help="the same seed does the same faults")
    parser.add_argument(
        "--pause",
        type=float,
        default=PAUSE_SECONDS,
        help=f"seconds between faults ({PAUSE_SECONDS:g})",
    )
    parser.add_argument("--no-table", action="store_true", help="leave the document as it is")
    given = parser.parse_args(arguments)
    found = soak(given.minutes, given.seed, given.pause)
    print(soak_figures.section(found))
    if not given.no_table:
        table.SOAK.write_text(json.dumps(found, indent=1) + "\n")
        table.write()
    return int(any(soak_figures.faults_of(found["samples"], found["violations"])))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
