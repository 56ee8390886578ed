"""Tasks of the embedding project itself, one for each thing that a run can meet."""

import os
import signal
from dataclasses import dataclass, replace
from pathlib import Path
from time import sleep
from uuid import uuid4

from celery import shared_task

from maintenance.conf import RedisTarget, configuration
from maintenance.core.backoff import RetryPolicy
from maintenance.core.errors import TargetUnavailable
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job, Progress
from maintenance.core.options import NoOptions
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report, Sample
from maintenance.core.runs.registry import TargetKind
from maintenance.core.runs.task import maintenance_task
from maintenance.redis.stream_classes import families_on
from maintenance.redis.streams import TrimOptions, trim_streams


@dataclass(frozen=True, slots=True)
class GateOptions:
    """``gate`` is a file: the task works, reporting progress, until it exists."""

    gate: str = ""


@dataclass(frozen=True, slots=True)
class NumberOptions:
    """``number`` tells one run from another."""

    number: int = 0


def _note(job: Job[None, NumberOptions]) -> Report:
    number = job.options.number
    return Report(
        title="Note",
        summary=f"Noted {number}.",
        findings=(Finding("note", Severity.INFO, str(number), f"This is note {number}."),),
        samples=(Sample("note_count", float(number)),),
    )


@maintenance_task(queue="high", target=TargetKind.NONE, options=NumberOptions)
def note_high(job: Job[None, NumberOptions]) -> Report:
    """Note a number, on the high queue."""
    return _note(job)


@maintenance_task(queue="medium", target=TargetKind.NONE, options=NumberOptions)
def note_medium(job: Job[None, NumberOptions]) -> Report:
    """Note a number, on the medium queue."""
    return _note(job)


@maintenance_task(queue="low", target=TargetKind.NONE, options=NumberOptions)
def note_low(job: Job[None, NumberOptions]) -> Report:
    """Note a number, on the low queue."""
    return _note(job)


@maintenance_task(queue="high", target=TargetKind.NONE, options=NumberOptions, rate_limit="3/h")
def note_rarely(job: Job[None, NumberOptions]) -> Report:
    """Note a number, three times an hour at most."""
    return _note(job)


@maintenance_task(queue="medium", target=TargetKind.NONE, options=GateOptions, writes=True)
def wait_at_gate(job: Job[None, GateOptions]) -> Report:
    """Work until the gate opens."""
    done = 0
    while not Path(job.options.gate).exists():
        done += 1
        job.progress.update(done, phase="waiting at the gate", unit="looks")
        sleep(0.05)
    return Report("Gate", f"Passed the gate after {done} looks.")


@maintenance_task(queue="medium", target=TargetKind.NONE, options=GateOptions)
def step_and_wait_at_gate(job: Job[None, GateOptions]) -> Report:
    """Do one step, which no other attempt repeats, and wait at the gate."""
    done = job.steps.done()
    if not done:
        step = Action("note", "first step", "note", "a test")
        job.steps.record("first", Outcome(step, Verdict.WORKED, duration_seconds=1.0))
    while not Path(job.options.gate).exists():
        sleep(0.05)
    return Report("Gate", f"Found done: {', '.join(done)}.", outcomes=tuple(done.values()))


@maintenance_task(
    queue="low",
    target=TargetKind.REDIS,
    retry=RetryPolicy(max_attempts=3, base_seconds=0.1, ceiling_seconds=0.2),
)
def reach_in_vain(job: Job[RedisTarget, NoOptions]) -> Report:
    """Fail as an outage does: worth another attempt."""
    raise TargetUnavailable(
        f"redis://app:very-secret@cache.example:6379/0 ({job.target_name}) is down"
    )


@maintenance_task(queue="low", target=TargetKind.NONE)
def break_at_once(job: Job[None, NoOptions]) -> Report:
    """Fail as a mistake does: not worth another attempt."""
    raise ValueError("password=hunter2 is no number")


@maintenance_task(
    queue="low",
    target=TargetKind.NONE,
    retry=RetryPolicy(max_attempts=6, base_seconds=0.05, ceiling_seconds=0.1),
)
def reach_in_vain_for_long(job: Job[None, NoOptions]) -> Report:
    """Fail as an outage does, more often than Celery retries of its own accord."""
    raise TargetUnavailable("cache.example:6379 is down")


@maintenance_task(queue="medium", target=TargetKind.NONE, options=GateOptions)
def look_at_gate(job: Job[None, GateOptions]) -> Report:
    """Find a gate that is there, which is critical."""
    found = Finding("gate-open", Severity.CRITICAL, "gate", "The gate is open.", advice="Close it.")
    findings = (found,) if Path(job.options.gate).exists() else ()
    return Report("Gate", "Looked.", findings=findings)


@maintenance_task(queue="medium", target=TargetKind.NONE)
def kill_its_process(job: Job[None, NoOptions]) -> Report:
    """End the process at work, as the out-of-memory killer does."""
    os.kill(os.getpid(), signal.SIGKILL)
    return Report("Never", "Never.")


@maintenance_task(queue="medium", target=TargetKind.NONE, options=GateOptions, writes=True)
def write_until_gate(job: Job[None, GateOptions]) -> Report:
    """Write a line a batch beside the gate, with the process that wrote it, until the gate opens."""
    gate = Path(job.options.gate)
    number = 0
    while not gate.exists():
        number += 1
        job.progress.update(number, phase="writing", unit="batches")
        sleep(0.05)  # a stop falls here, between the last update and the write
        job.progress.check()
        with gate.with_suffix(".lines").open("a") as lines:
            lines.write(f"{os.getpid()}\n")
    return Report("Gate", f"Wrote {number} lines.")


@shared_task
def list_books() -> int:
    """Ask for each book's author, one at a time: a task of the project, none of the crew's."""
    from tests.testapp.models import Book

    return sum(len(book.author.name) for book in Book.objects.order_by("id"))


@shared_task(rate_limit="1/m")
def touch_rarely(folder: str) -> None:
    """Leave a file: by Celery's own limit once a minute."""
    (Path(folder) / uuid4().hex).touch()


class _Slowly:
    """Progress that takes its time between two batches."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self.check = progress.check

    def update(
        self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
    ) -> None:
        self._progress.update(done, total, phase=phase, unit=unit)
        sleep(0.05)


@maintenance_task(queue="medium", target=TargetKind.REDIS, options=TrimOptions, writes=True)
def trim_slowly(job: Job[RedisTarget, TrimOptions]) -> Report:
    """Trim streams as trim_streams does, with time to stop the process between two batches."""
    families = families_on(configuration(), job.target_name)
    return trim_streams(replace(job, progress=_Slowly(job.progress)), families)
