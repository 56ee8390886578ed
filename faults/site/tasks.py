"""Tasks of the site under fire: each notes what it does on its target."""

import os
import signal
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from threading import Event
from typing import Any

from faults.site.marks import Marks, marks_of
from faults.site.points import reach
from maintenance.conf import DatabaseTarget, RedisTarget, configuration
from maintenance.core.job import Job, Progress
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report
from maintenance.core.runs.registry import TargetKind
from maintenance.core.runs.task import maintenance_task
from maintenance.postgres.vacuum import run as vacuum
from maintenance.postgres.vacuum.options import VacuumOptions
from maintenance.redis import streams
from maintenance.redis.stream_classes import families_on
from maintenance.redis.stream_options import TrimOptions

#: How long the statement lasts that a worker is killed in: longer than a lease and the next look.
MID_STATEMENT_SECONDS = 6.0


@dataclass(frozen=True, slots=True)
class MarkOptions:
    """``work_seconds`` is how long the work takes, beside its one effect."""

    work_seconds: float = 0.2


def _marks(
    job: Job[Any, Any], database: DatabaseTarget, task: str
) -> AbstractContextManager[Marks]:
    return marks_of(database, job.run_id, task, job.target_name, job.progress.check)


@maintenance_task(queue="medium", target=TargetKind.DATABASE, options=MarkOptions, writes=True)
def leave_a_mark(job: Job[DatabaseTarget, MarkOptions]) -> Report:
    """Leave one mark on the target, once, whatever happens to the worker."""
    with _marks(job, job.target, "leave_a_mark") as marks:
        reach("claimed", run=job.run_id)
        job.progress.update(0, 2, phase="working")
        # Not time.sleep, which libfaketime breaks where it leaves the steady clock alone.
        Event().wait(job.options.work_seconds)
        if "mark" not in job.steps.done():
            _mark(job, marks)
        job.progress.update(2, 2, phase="working")
    return Report("Mark", "One mark was left.")


def _mark(job: Job[DatabaseTarget, MarkOptions], marks: Marks) -> None:
    job.progress.update(1, 2, phase="marking")
    reach("past_the_fence", run=job.run_id)
    if reach("mid_sql", run=job.run_id):
        marks.sleep(MID_STATEMENT_SECONDS)
    else:
        marks.note("effect")
    reach("effect_done", run=job.run_id)
    action = Action("mark", job.target_name, "INSERT INTO marks", "it is due", {})
    # As long as a costly one: it is stored at once.
    job.steps.record("mark", Outcome(action, Verdict.WORKED, duration_seconds=1.0))
    reach("step_recorded", run=job.run_id)


@maintenance_task(queue="low", target=TargetKind.DATABASE, options=VacuumOptions, writes=True)
def vacuum_under_fire(job: Job[DatabaseTarget, VacuumOptions]) -> Report:
    """Vacuum as the product does, with marks around it."""
    with _marks(job, job.target, "vacuum_under_fire"):
        return vacuum.vacuum_analyze(job, configuration().thresholds)


class _PointedProgress:
    def __init__(self, progress: Progress, point: str) -> None:
        self._progress = progress
        self._point = point
        self.check = progress.check

    def update(self, *args: Any, **details: Any) -> None:
        self._progress.update(*args, **details)
        reach(self._point)


@maintenance_task(queue="low", target=TargetKind.REDIS, options=TrimOptions, writes=True)
def trim_under_fire(job: Job[RedisTarget, TrimOptions]) -> Report:
    """Trim as the product does, with marks around it and a point in each of its batches."""
    database = configuration().databases["library"]
    with _marks(job, database, "trim_under_fire"):
        pointed = replace(job, progress=_PointedProgress(job.progress, "mid_trim"))
        return streams.trim_streams(pointed, families_on(configuration(), job.target_name))


@maintenance_task(queue="medium", target=TargetKind.DATABASE, writes=True)
def kill_the_worker(job: Job[DatabaseTarget, Any]) -> Report:
    """Kill the worker that took it, whole, every time."""
    with _marks(job, job.target, "kill_the_worker"):
        os.killpg(0, signal.SIGKILL)
    return Report("Survived", "This is never read.")
