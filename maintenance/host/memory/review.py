"""How much memory Gunicorn and Celery hold, whether it grows, and what ends a process that grew."""

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from maintenance.conf import HostTarget
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.job import Job, Point
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.trend import DAY_SECONDS
from maintenance.core.wording import bytes_in_words, counted, percent, seconds_in_words
from maintenance.host.memory.growth import (
    MINIMUM_POINTS,
    MINIMUM_SPAN_SECONDS,
    WINDOW_SECONDS,
    Growth,
    can_tell,
    growth_of,
)
from maintenance.host.memory.processes import Group, Machine, measure_groups, measure_machine

#: PSS and resident size are different numbers, and have samples of their own.
PROPORTIONAL_METRIC = "process_memory_bytes"
RESIDENT_METRIC = "process_resident_bytes"
GROUP_METRIC = "process_group_memory_bytes"

#: Below this share the kernel takes memory from the page cache that the database lives on.
LOW_MEMORY_RATIO = 0.10
#: More runnable processes than twice the processors: each waits as long as it works.
HIGH_LOAD = 2.0
#: Of its largest process, so much more a worker may hold before it is replaced.
CHILD_ROOM = 1.5


def check_process_memory(job: Job[HostTarget, NoOptions]) -> Report:
    """Measure each group of Gunicorn and Celery processes, and compare with earlier checks."""
    machine, groups = measure_machine(), measure_groups()
    now = time.time()
    courses = {
        group.program.title: (
            *job.history.series(
                metric_of(group), group.program.title, since_seconds=WINDOW_SECONDS
            ),
            Point(now, group.memory_per_process_bytes),
        )
        for group in groups
    }
    findings = tuple(diagnose(job.target_name, machine, groups, courses))
    return Report(
        title=f"Memory of processes on {job.target_name}",
        summary=_summary(machine, groups),
        findings=tuple(by_seriousness(findings)),
        tables=(Table.of("Groups of processes", [_row(group, now) for group in groups]),)
        if groups
        else (),
        facts={
            "memory_bytes": machine.memory_bytes,
            "available_bytes": machine.available_bytes,
            "swap_used_bytes": machine.swap_used_bytes,
            "processors": machine.processors,
            "load": round(machine.load, 2),
            "memory_is_limited": machine.is_limited,
        },
        samples=tuple(_samples(machine, groups)),
    )


def metric_of(group: Group) -> str:
    """Return the metric of a process's memory: of PSS where that is known of all."""
    return PROPORTIONAL_METRIC if group.is_proportional else RESIDENT_METRIC


def diagnose(
    host: str,
    machine: Machine,
    groups: Sequence[Group],
    courses: Mapping[str, Sequence[Point]],
) -> Iterator[Finding]:
    """Judge the machine and each group by its course so far, the newest point last. Pure."""
    yield from _machine(host, machine)
    if not groups:
        yield unavailable(
            "process-memory",
            host,
            "the memory of Gunicorn and Celery",
            "a process of theirs on this machine that this user can see",
        )
    for group in groups:
        course = courses[group.program.title]
        growth = growth_of(course)
        if growth is not None:
            yield _growing(group, growth, machine)
        elif not can_tell(course):
            yield unavailable(
                "process-memory-growing",
                group.program.title,
                f"whether {group.program.title} grows",
                f"{MINIMUM_POINTS} checks over {seconds_in_words(MINIMUM_SPAN_SECONDS)} since its"
                " last start",
            )
        yield from _never_replaced(group)


def _machine(host: str, machine: Machine) -> Iterator[Finding]:
    ratio = machine.available_bytes / machine.memory_bytes
    if ratio < LOW_MEMORY_RATIO:
        yield Finding(
            code="machine-memory-low",
            severity=Severity.WARNING,
            subject=host,
            sentence=(
                f"{_memory_words(machine)} are available on {host}, {percent(ratio)}:"
                " the kernel drops cached files that databases read, and may end a process."
            ),
            evidence={
                "available_bytes": machine.available_bytes,
                "memory_bytes": machine.memory_bytes,
                "swap_used_bytes": machine.swap_used_bytes,
            },
            advice="See which group holds most, and give it fewer processes, or"
            f" {'raise the limit' if machine.is_limited else 'the machine more memory'}.",
        )
    if machine.load > HIGH_LOAD * machine.processors:
        yield Finding(
            code="machine-load-high",
            severity=Severity.WARNING,
            subject=host,
            sentence=(
                f"{machine.load:.1f} processes want one of {counted(machine.processors, 'processor')}"
                f" of {host}, in the mean of a minute: each waits longer than it works."
            ),
            evidence={"load": machine.load, "processors": machine.processors},
            advice="See which processes take the time, and whether they must at this hour.",
            commands=("ps -eo pcpu,pid,etime,args --sort=-pcpu | head -15",),
        )


def _growing(group: Group, growth: Growth, machine: Machine) -> Finding:
    daily = growth.per_second * DAY_SECONDS
    count = len(group.processes)
    left = machine.available_bytes / (growth.per_second * count)
    return Finding(
        code="process-memory-growing",
        severity=Severity.CRITICAL if left < DAY_SECONDS else Severity.WARNING,
        subject=group.program.title,
        sentence=(
            f"A process of {group.program.title} grows by {bytes_in_words(daily)} a day, still so in"
            f" the newer half of {seconds_in_words(growth.span_seconds)};"
            f" {counted(count, 'process', 'processes')} hold {bytes_in_words(group.memory_bytes)} now,"
            f" and what is left of {'the limit' if machine.is_limited else 'the machine'} lasts for {seconds_in_words(left)} more."
        ),
        evidence={
            "daily_bytes": round(daily),
            "lowest_daily_bytes": round(growth.lowest_per_second * DAY_SECONDS),
            "highest_daily_bytes": round(growth.highest_per_second * DAY_SECONDS),
            "memory_bytes": group.memory_bytes,
            "processes": count,
            "samples": growth.points,
            "span_seconds": round(growth.span_seconds),
        },
        advice=_replacing(group)
        + " Then look for what is kept: iterator() for large querysets, caches without a limit;"
        " a memory profiler (memray attach) names the line.",
    )


def _never_replaced(group: Group) -> Iterator[Finding]:
    kind = group.program.kind
    if group.program.recycled_by or kind not in {"gunicorn", "celery worker"}:
        return
    where = (
        "command line or in gunicorn.conf.py"
        if kind == "gunicorn"
        else "command line (the application's own settings cannot be seen from outside)"
    )
    yield Finding(
        code="process-never-replaced",
        severity=Severity.INFO,
        subject=group.program.title,
        sentence=(
            f"Nothing ends a process of {group.program.title} after a while: no limit stands on its"
            f" {where}. What it leaks stays until the next restart."
        ),
        evidence={
            "largest_resident_bytes": group.largest.resident_bytes,
            "oldest_started_at": _moment(group.oldest_epoch_seconds),
        },
        advice=_replacing(group),
    )


def _replacing(group: Group) -> str:
    """Say which setting ends a process that grew. Gunicorn's numbers are the guide's."""
    if group.program.kind == "gunicorn":
        return (
            "Set max_requests = 1000 and max_requests_jitter = 50 for Gunicorn: each worker is"
            " replaced after so many requests, not all at once."
        )
    if group.program.kind != "celery worker":
        return "Restart it at a quiet hour until the cause is found."
    kilobytes = child_limit_kilobytes(group.largest.resident_bytes)
    return (
        f"Set worker_max_memory_per_child = {kilobytes} (kilobytes) for Celery: a child above it is"
        " replaced after its task. It needs the prefork pool."
    )


def child_limit_kilobytes(largest_resident_bytes: int) -> int:
    """Return a limit with room above the largest process of today, in whole 50 MB.

    Celery compares it with the resident size (celery.concurrency.prefork, billiard.pool), in kB.
    """
    step = 50_000
    return math.ceil(largest_resident_bytes * CHILD_ROOM / 1024 / step) * step


def _summary(machine: Machine, groups: Sequence[Group]) -> str:
    room = f"{_memory_words(machine)} are available"
    if not groups:
        return f"No process of Gunicorn or Celery is to be seen on this machine; {room}."
    total = sum(group.memory_bytes for group in groups)
    count = sum(len(group.processes) for group in groups)
    upper = "" if all(group.is_proportional for group in groups) else "at most "
    return (
        f"{counted(count, 'process', 'processes')} of Gunicorn and Celery hold"
        f" {upper}{bytes_in_words(total)}; {room}."
    )


def _memory_words(machine: Machine) -> str:
    limit = " that the limit of its control group allows" if machine.is_limited else ""
    return f"{bytes_in_words(machine.available_bytes)} of {bytes_in_words(machine.memory_bytes)}{limit}"


def _row(group: Group, now_epoch_seconds: float) -> dict[str, Any]:
    return {
        "group": group.program.title,
        "processes": len(group.processes),
        "memory_bytes": group.memory_bytes,
        "measured_as": "PSS"
        if group.is_proportional
        else "resident size, shared pages counted often",
        "per_process_bytes": round(group.memory_per_process_bytes),
        "largest_resident_bytes": group.largest.resident_bytes,
        "oldest_seconds": round(now_epoch_seconds - group.oldest_epoch_seconds),
        "replaced_by": ", ".join(group.program.recycled_by) or None,
    }


def _samples(machine: Machine, groups: Sequence[Group]) -> Iterator[Sample]:
    yield Sample("machine_available_bytes", machine.available_bytes)
    yield Sample("machine_load", machine.load)
    for group in groups:
        yield Sample(metric_of(group), group.memory_per_process_bytes, group.program.title)
        yield Sample(GROUP_METRIC, group.memory_bytes, group.program.title)


def _moment(epoch_seconds: float) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(epoch_seconds))
