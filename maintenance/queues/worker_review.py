"""Settings of Celery workers against their machine and their tasks, and what is advised. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from maintenance.core.configuration_file import ConfigurationFile, Line, withheld
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.machine import MachineFacts
from maintenance.core.reports import Report, Table
from maintenance.core.wording import counted, listed, seconds_in_words
from maintenance.queues.worker_settings import WorkerSettings

#: What the guide starts: a worker for each of its queues (its option --queue is --queues today).
GUIDE_WORKERS: Mapping[str, int] = {"high": 4, "medium": 2, "low": 1}
#: Tasks mostly wait for the network and the database: more than this for a processor wait in line.
CROWDED_PER_CPU = 4
#: Processes are renewed now and then: what leaks stays small.
MAX_TASKS_PER_CHILD = 200
TIME_LIMIT_SECONDS = 1800
#: The broker waits longer than the longest task, with room for what starts late.
VISIBILITY_FACTOR = 2


def review_workers(name: str, settings: WorkerSettings, machine: MachineFacts) -> Report:
    """Judge the workers of one site."""
    concurrency = settings.concurrency(machine.cpu_count)
    workers = [
        {
            "worker": worker.name,
            "queues": worker.queues or "all that are declared",
            "concurrency": worker.told.get("worker_concurrency"),
        }
        for worker in settings.workers
    ]
    return Report(
        title=f"Celery workers of {name}",
        summary=(
            f"{counted(len(settings.workers), 'worker')} seen running;"
            f" {concurrency if concurrency is not None else 'an unknown number of'} tasks at once, by"
            f" {settings.origin}."
        ),
        findings=tuple(by_seriousness(diagnose(name, settings, machine))),
        tables=(
            Table.of("Settings of Celery workers", list(_rows(settings))),
            Table.of("Celery workers that run", workers),
        ),
    )


def diagnose(name: str, settings: WorkerSettings, machine: MachineFacts) -> Iterator[Finding]:
    """Judge concurrency, delivery, renewal and time limits."""
    if settings.unknown:
        what = listed(sorted(settings.unknown))
        reasons = listed([f"{n} {why}" for n, why in sorted(settings.unknown.items())], limit=3)
        yield unavailable(
            "celery-settings", f"Celery of {name}", f"Celery's {what}", f"their values: {reasons}"
        )
    yield from _concurrency(name, settings, machine)
    yield from _delivery(name, settings)
    yield from _renewal(name, settings)


def _finding(
    code: str, severity: Severity, name: str, sentence: str, advice: str, **evidence: Any
) -> Finding:
    return Finding(f"celery-{code}", severity, f"Celery of {name}", sentence, evidence, advice)


def _concurrency(name: str, settings: WorkerSettings, machine: MachineFacts) -> Iterator[Finding]:
    at_once, cpus = settings.concurrency(machine.cpu_count), machine.cpu_count
    if at_once is None or cpus is None or not settings.has_processes:
        return
    if at_once > CROWDED_PER_CPU * cpus:
        yield _finding(
            "crowded", Severity.WARNING, name,
            f"Celery's workers of {name} take {at_once} tasks at once on {counted(cpus, 'processor')}: each"
            " process has memory and a connection to the database, and they wait for one another.",
            f"Lower --concurrency: {CROWDED_PER_CPU * cpus} in all is plenty for tasks that wait.",
            concurrency=at_once, cpu_count=cpus,
        )  # fmt: skip


def _delivery(name: str, settings: WorkerSettings) -> Iterator[Finding]:
    late, limit = settings.known.get("task_acks_late"), settings.known.get("task_time_limit")
    visibility = settings.visibility_timeout_seconds
    if late and visibility is not None and isinstance(limit, int | float) and limit >= visibility:
        yield _finding(
            "delivered-twice", Severity.WARNING, name,
            f"A Celery task of {name} may take {seconds_in_words(limit)}, and a Redis broker delivers it"
            f" again after {seconds_in_words(visibility)} without an acknowledgement: it is then done"
            " twice at once.",
            f"Set visibility_timeout in broker_transport_options to {int(limit * VISIBILITY_FACTOR)},"
            " for all workers on this broker.",
            task_time_limit_seconds=limit, visibility_timeout_seconds=visibility,
        )  # fmt: skip
    if late and limit is None and "task_time_limit" not in settings.unknown:
        yield _finding(
            "no-time-limit-late", Severity.INFO, name,
            f"Celery tasks of {name} are acknowledged after their work and have no time limit: one that takes"
            " longer than the broker's visibility timeout is delivered again while it works.",
            "Set task_time_limit, below the visibility timeout.",
        )  # fmt: skip
    prefetch = settings.known.get("worker_prefetch_multiplier")
    if late and isinstance(prefetch, int) and prefetch != 1:
        yield _finding(
            "prefetches", Severity.INFO, name,
            f"Each process of Celery of {name} fetches"
            f" {counted(prefetch, 'message') if prefetch else 'any number of messages'} ahead: they"
            " wait behind a long task while other processes are idle.",
            "Set worker_prefetch_multiplier = 1.",
        )  # fmt: skip
    if late is False:
        yield _finding(
            "acknowledged-early", Severity.INFO, name,
            f"Celery tasks of {name} are acknowledged before their work: those of a killed worker are lost.",
            "Set task_acks_late = True for tasks that may be done twice; it is each task's own choice.",
        )  # fmt: skip


def _renewal(name: str, settings: WorkerSettings) -> Iterator[Finding]:
    per_child = ("worker_max_tasks_per_child", "worker_max_memory_per_child")
    if all(setting in settings.known and not settings.known[setting] for setting in per_child):
        if settings.workers and all(
            "worker_max_tasks_per_child" in w.told for w in settings.workers
        ):
            return
        yield _finding(
            "never-renewed", Severity.INFO, name,
            f"Processes of Celery's workers of {name} live for ever: what leaks in them grows until a restart.",
            f"Set worker_max_tasks_per_child = {MAX_TASKS_PER_CHILD}.",
        )  # fmt: skip
    limits = ("task_time_limit", "task_soft_time_limit")
    if all(setting in settings.known and not settings.known[setting] for setting in limits):
        yield _finding(
            "no-time-limit", Severity.INFO, name,
            f"Celery tasks of {name} have no time limit: one that hangs keeps its process until a restart.",
            "Set task_soft_time_limit and task_time_limit above what the longest task takes.",
        )  # fmt: skip


def _rows(settings: WorkerSettings) -> Iterator[dict[str, Any]]:
    for name, value in settings.known.items():
        yield {"setting": name, "deployed": None if value is None else str(value)}
    for name, why in settings.unknown.items():
        yield {"setting": name, "deployed": f"unknown: it {why}"}
    timeout = settings.visibility_timeout_seconds
    yield {
        "setting": "visibility_timeout",
        "deployed": None if timeout is None else f"{timeout:g} s",
    }


def celery_conf(
    machine: MachineFacts, longest_task_seconds: float | None, about: str
) -> ConfigurationFile:
    """Return celeryconfig.py for a machine; ``longest_task_seconds`` is ``None`` if nobody knows."""
    return ConfigurationFile("celeryconfig.py", about, tuple(_lines(machine, longest_task_seconds)))


def _lines(machine: MachineFacts, longest: float | None) -> Iterator[Line]:
    if machine.cpu_count is None:
        yield withheld("worker_concurrency", "the number of processors (cpu_count, --cpus)")
    else:
        yield Line(
            f"worker_concurrency = {max(2, machine.cpu_count)}",
            f"One process for each of {counted(machine.cpu_count, 'processor')}, two at the least."
            " Workers of single queues say their own: celery -A site worker --queues=high"
            " --concurrency=4 (the guide's --queue does not exist).",
        )
    yield Line(
        "worker_prefetch_multiplier = 1",
        "A process fetches its next message when it is free: nothing waits behind a long task.",
    )
    yield Line(
        "task_acks_late = True",
        "A killed worker's message comes back. Tasks that must never be done twice say acks_late ="
        " False themselves.",
    )
    yield Line(
        f"worker_max_tasks_per_child = {MAX_TASKS_PER_CHILD}",
        "A process is renewed now and then: what leaks stays small.",
    )
    yield from _limits(longest)


def _limits(longest: float | None) -> Iterator[Line]:
    if longest is None:
        yield withheld(
            "task_soft_time_limit, task_time_limit and visibility_timeout",
            "how long the longest task may take (--longest-task): a limit that is too short ends good"
            " work",
        )
        return
    soft = int(longest)
    yield Line(f"task_soft_time_limit = {soft}", "The task is told, and can clean up.")
    yield Line(f"task_time_limit = {soft + 60}", "A minute later its process is ended.")
    yield Line(
        f'broker_transport_options = {{"visibility_timeout": {int((soft + 60) * VISIBILITY_FACTOR)}}}',
        "Redis: longer than the longest task, or it is delivered again while it works. Also longer"
        " than any eta or countdown.",
    )
