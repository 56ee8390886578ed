"""The process of the bench of autoscaling: starts workers, queues runs, and prints its figures as JSON."""

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import IO

import django
import psutil

from service.up.processes import Program
from service.up.programs import READY_TEXT, worker

#: The variable with the URL of the targets: the ledger's own database, with a second before each session.
FAR_DATABASE = "FAR_DATABASE_URL"
_A_SECOND = "?options=-c%20post_auth_delay%3D1"

QUEUE, PROCESSES = "high", 4
DEADLINE_SECONDS = 180.0
LOOK_SECONDS = 0.05


@dataclass(slots=True)
class Crew:
    """Workers that run, and how long they took to begin and, afterwards, to end."""

    processes: list[subprocess.Popen[str]]
    start_seconds: float
    stop_seconds: float = 0.0

    @property
    def members(self) -> list[psutil.Process]:
        """Return every process: the parents, and those that do the work."""
        parents = [psutil.Process(process.pid) for process in self.processes]
        return [*parents, *(child for one in parents for child in one.children(recursive=True))]


def main(targets: int, workers: int) -> dict[str, float]:
    """Let so many workers take one run a target, and measure both."""
    from django.core.management import call_command

    from maintenance.models import Run

    call_command("migrate", verbosity=0)
    with _crew(workers) as crew:
        began = time.perf_counter()
        _queue(targets)
        _wait_until(lambda: Run.objects.exclude(finished_at=None).count() == targets)
        drain_seconds = time.perf_counter() - began
        memory_bytes = sum(one.memory_full_info().pss for one in crew.members)
    failed = Run.objects.exclude(state="succeeded")
    for run in failed[:1]:
        raise RuntimeError(f"{len(failed)} of {targets} runs did not succeed: {run.summary}")
    return {
        "start_seconds": crew.start_seconds,
        "drain_seconds": drain_seconds,
        "memory_bytes": memory_bytes / workers,
        "stop_seconds": crew.stop_seconds,
    }


@contextmanager
def _crew(workers: int) -> Iterator[Crew]:
    """Start workers as the service does, and end them as it does, while they have nothing to do."""
    began = time.perf_counter()
    programs = [worker(QUEUE, PROCESSES) for _ in range(workers)]
    processes = [_started(program, number) for number, program in enumerate(programs)]
    try:
        listeners = [_Listener(process.stdout) for process in processes if process.stdout]
        _wait_until(lambda: all(one.is_ready.is_set() for one in listeners))
        crew = Crew(processes, time.perf_counter() - began)
        yield crew
        began = time.perf_counter()
        for process in processes:
            process.terminate()
        for process in processes:
            process.wait(DEADLINE_SECONDS)
        crew.stop_seconds = time.perf_counter() - began
    finally:
        for process in processes:
            process.kill()
            process.wait()


def _started(program: Program, number: int) -> "subprocess.Popen[str]":
    command = [part.replace("@%h", f"{number}@%h") for part in program.command]
    return subprocess.Popen(
        command,
        env={**os.environ, **program.environment},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@dataclass(slots=True)
class _Listener:
    """Reads what a worker prints, so that it never waits for a reader, and notices that it is ready."""

    stream: IO[str]
    is_ready: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        threading.Thread(target=self._listen, daemon=True).start()

    def _listen(self) -> None:
        for line in self.stream:
            if READY_TEXT in line:
                self.is_ready.set()
            elif "ERROR" in line:
                sys.stderr.write(line)


def _queue(targets: int) -> None:
    from maintenance.core.runs.dispatch import start_run
    from maintenance.core.runs.ledger import Origin
    from maintenance.core.runs.registry import task_named
    from maintenance.models import Trigger

    for number in range(targets):
        start_run(task_named("sample_database_load"), f"site-{number}", {}, Origin(Trigger.CLI))


def _wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise RuntimeError("The workers did not get there in time.")
        time.sleep(LOOK_SECONDS)


if __name__ == "__main__":
    os.environ[FAR_DATABASE] = os.environ["DATABASE_URL"] + _A_SECOND
    django.setup()
    print(json.dumps(main(int(sys.argv[1]), int(sys.argv[2]))))
