"""Groups of processes by their command lines, and what their course says of a leak."""

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.findings import Severity
from maintenance.core.job import Point
from maintenance.host.memory.command_lines import Program, program_of
from maintenance.host.memory.growth import growth_of
from maintenance.host.memory.processes import (
    Group,
    Machine,
    Process,
    _with_config,
    measure_machine,
    root_of,
)
from maintenance.host.memory.review import child_limit_kilobytes, diagnose

MB = 1024**2
HOUR = 3600.0
MACHINE = Machine(8 * 1024 * MB, 4 * 1024 * MB, 0, 4, 0.5)


@pytest.mark.parametrize(
    ("words", "kind", "name", "recycled"),
    [
        (["gunicorn", "site.wsgi", "-w", "3"], "gunicorn", "site.wsgi", ()),
        (
            ["/usr/bin/python3", "-m", "gunicorn", "site.wsgi", "--max-requests", "1000"],
            "gunicorn",
            "site.wsgi",
            ("max_requests",),
        ),
        (["python", "/venv/bin/gunicorn", "--max-requests=0", "a:b"], "gunicorn", "a:b", ()),
        (["gunicorn: worker [bookwyrm]"], "gunicorn", "bookwyrm", ()),
        (["gunicorn: master [bookwyrm]"], "gunicorn", "bookwyrm", ()),
        (
            ["celery", "-A", "celerywyrm", "worker", "-Q", "high", "--max-memory-per-child=200000"],
            "celery worker",
            "high",
            ("worker_max_memory_per_child",),
        ),
        (
            ["python", "-m", "celery", "-A", "x", "worker", "-n", "a@%h", "-Q", "high"],
            "celery worker",
            "a@%h",
            (),
        ),
        (
            ["[celeryd: a@host:MainProcess] -active- (worker -Q high)"],
            "celery worker",
            "a@host",
            (),
        ),
        (["celery", "-A", "worker", "beat"], "celery beat", "", ()),
        (["python", "-m", "shop.celery", "worker", "-Q", "low"], "celery worker", "low", ()),
    ],
)
def test_a_program_is_known_by_its_command_line(
    words: list[str], kind: str, name: str, recycled: tuple[str, ...]
) -> None:
    program = program_of(words)

    assert program is not None
    assert (program.kind, program.name, program.recycled_by) == (kind, name, recycled)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["vim", "gunicorn.conf.py"],
        ["grep", "celery"],
        ["python", "-m", "celery.tests", "worker"],
        ["tail", "-f", "/var/log/celery"],
        ["celery", "-A", "worker", "inspect", "ping"],
        ["python", "manage.py", "runserver", "gunicorn"],
    ],
)
def test_what_only_speaks_of_a_program_is_none(words: list[str]) -> None:
    assert program_of(words) is None


@given(st.lists(st.text(max_size=12), max_size=8))
def test_no_command_line_breaks_it(words: list[str]) -> None:
    program_of(words)


def test_a_process_belongs_to_the_highest_known_one_above_it() -> None:
    gunicorn = Program("gunicorn", "a")
    parents = {1: 0, 10: 1, 11: 10, 12: 11, 20: 1, 30: 31, 31: 30}

    assert [root_of(pid, parents, {10: gunicorn, 11: gunicorn}) for pid in (12, 11, 20, 30)] == [
        10,
        10,
        None,
        None,
    ]


@pytest.mark.parametrize(
    ("source", "recycled"),
    [
        ("max_requests = 1000\n", ("max_requests",)),
        ("max_requests = compute()\n", ("max_requests",)),
        ("max_requests = 0\n", ()),
        ("workers = 3\n", ()),
        ("def (", ()),
        (None, ()),
    ],
)
def test_the_configuration_of_gunicorn_is_read_and_never_run(
    tmp_path: Path, source: str | None, recycled: tuple[str, ...]
) -> None:
    if source is not None:
        (tmp_path / "gunicorn.conf.py").write_text(source)
    with subprocess.Popen(
        [sys.executable, "-c", "input()"], cwd=tmp_path, stdin=subprocess.PIPE
    ) as process:
        found = _with_config(Program("gunicorn", "a:b"), psutil.Process(process.pid))
        assert process.stdin is not None
        process.stdin.write(b"\n")

    assert found.recycled_by == recycled


# --- growth ---


def course(*megabytes: float, every_seconds: float = HOUR) -> list[Point]:
    """Hourly samples."""
    return [Point(n * every_seconds, value * MB) for n, value in enumerate(megabytes)]


def test_a_leak_is_told_with_its_rate() -> None:
    growth = growth_of(course(*(100 + 5 * n for n in range(24))))

    assert growth is not None
    assert growth.per_second * HOUR == pytest.approx(5 * MB)
    assert growth.points == 24


def test_a_process_that_warms_up_and_then_stays_does_not_grow() -> None:
    assert growth_of(course(*(100 + 10 * n for n in range(6)), *([160.0] * 18))) is None


def test_a_newer_half_that_only_wavers_is_no_growth() -> None:
    growing = [100 + 10 * n for n in range(12)]
    wavering = [220 + 1.5 * n + (8 if n % 2 else -8) for n in range(12)]

    assert growth_of(course(*growing, *wavering)) is None


def test_a_restart_begins_the_course_anew() -> None:
    leaking = [100 + 10 * n for n in range(20)]

    assert growth_of(course(*leaking, 100, 101, 100)) is None
    again = growth_of(course(*leaking, *leaking))
    assert again is not None
    assert again.points == 20


def test_noise_and_a_little_growth_are_no_leak() -> None:
    assert growth_of(course(*(100 + (n % 3) for n in range(24)))) is None
    assert growth_of(course(*(100 + 0.1 * n for n in range(24)))) is None
    assert growth_of(course(100, 110, 120)) is None


# --- diagnosis ---


def group(kind: str = "gunicorn", recycled: tuple[str, ...] = (), **sizes: int | None) -> Group:
    """A group of two processes."""
    resident = sizes.get("resident") or 300 * MB
    return Group(
        Program(kind, "site", recycled),
        tuple(Process(pid, resident, sizes.get("pss", 200 * MB), 0.0) for pid in (1, 2)),
    )


def codes_of(one: Group, points: list[Point], machine: Machine = MACHINE) -> dict[str, Severity]:
    """The codes of what is found, with their severities."""
    found = diagnose("local", machine, [one], {one.program.title: points})
    return {f.code: f.severity for f in found if f.measured}


def test_a_growing_group_is_named_with_what_replaces_its_workers() -> None:
    leaking = course(*(100 + 5 * n for n in range(24)))
    one = group()

    found = {f.code: f for f in diagnose("local", MACHINE, [one], {"gunicorn site": leaking})}

    growing = found["process-memory-growing"]
    assert growing.severity is Severity.WARNING
    assert growing.sentence.startswith("A process of gunicorn site grows by 120 MB a day")
    assert "max_requests = 1000 and max_requests_jitter = 50" in growing.advice
    assert found["process-never-replaced"].severity is Severity.INFO


def test_a_leak_that_fills_the_machine_within_a_day_is_critical() -> None:
    leaking = course(*(100 + 50 * n for n in range(24)))
    full = Machine(8 * 1024 * MB, 1024 * MB, 0, 4, 0.5)

    assert codes_of(group(), leaking, full)["process-memory-growing"] is Severity.CRITICAL


def test_celery_gets_a_limit_above_its_largest_process() -> None:
    one = group("celery worker", resident=300 * MB)

    (finding,) = [f for f in diagnose("l", MACHINE, [one], {one.program.title: []}) if f.measured]

    assert "worker_max_memory_per_child = 500000 (kilobytes)" in finding.advice
    assert child_limit_kilobytes(1) == 50_000


def test_a_group_with_a_limit_and_one_that_stays_is_no_finding() -> None:
    assert codes_of(group(recycled=("max_requests",)), course(*([200.0] * 24))) == {}


def test_few_samples_and_no_process_are_withheld() -> None:
    one = group(recycled=("max_requests",))

    young = list(diagnose("local", MACHINE, [one], {one.program.title: course(100, 120)}))
    nobody = list(diagnose("local", MACHINE, [], {}))

    assert [(f.code, f.measured) for f in young] == [("process-memory-growing", False)]
    assert [(f.code, f.measured) for f in nobody] == [("process-memory", False)]


def test_a_machine_short_of_memory_or_time_is_named() -> None:
    short = Machine(8 * 1024 * MB, 500 * MB, 0, 2, 9.0)

    assert set(codes_of(group(recycled=("x",)), [], short)) == {
        "machine-memory-low",
        "machine-load-high",
    }


def test_shared_pages_are_counted_once_where_the_kernel_tells() -> None:
    assert group(pss=100 * MB).memory_bytes == 200 * MB
    assert group(pss=100 * MB).is_proportional
    assert group(pss=None).memory_bytes == 600 * MB
    assert not group(pss=None).is_proportional


def test_in_a_container_what_its_limit_leaves_is_what_is_judged(tmp_path: Path) -> None:
    limited = {"memory.max": 64 * MB, "memory.current": 63 * MB, "memory.stat": "inactive_file 0"}
    (tmp_path / "sys/fs/cgroup").mkdir(parents=True)
    (tmp_path / "proc/1").mkdir(parents=True)
    (tmp_path / "proc/1/cgroup").write_text("0::/\n")
    unlimited = measure_machine(tmp_path)
    for name, value in limited.items():
        (tmp_path / "sys/fs/cgroup" / name).write_text(f"{value}\n")

    machine = measure_machine(tmp_path)

    assert (machine.memory_bytes, machine.available_bytes) == (64 * MB, MB)
    assert (machine.is_limited, unlimited.is_limited) == (True, False)
    assert unlimited.memory_bytes == psutil.virtual_memory().total
    (low,) = (f for f in diagnose("l", machine, [], {}) if f.code == "machine-memory-low")
    assert (
        "1.0 MB of 64 MB that the limit of its control group allows are available" in low.sentence
    )
