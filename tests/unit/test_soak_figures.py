"""Figures of a soak: which samples are compared, which limits are passed, and how that is said."""

from typing import Any

from faults.soak_figures import GROWTH_LIMIT_BYTES, compared, faults_of, section

MIB = 1024**2


def sample(runs: int, pss_mib: float = 40.0, files: int = 12, **more: Any) -> dict[str, Any]:
    process = {"pid": 7, "pss_bytes": int(pss_mib * MIB), "files": files}
    return {
        "at_seconds": runs,
        "runs": runs,
        "processes": {"worker-a": process},
        "connections": 14,
        "clients": 30,
        "stale_locks": 0,
        "rows": 1500,
        "overdue_rows": 0,
        **more,
    }


def test_memory_is_compared_between_run_500_and_run_5000() -> None:
    (growth,) = compared([sample(10, 20), sample(510, 40), sample(5020, 44), sample(6000, 80)])

    assert (growth.first_run, growth.last_run, growth.grown_bytes) == (510, 5020, 4 * MIB)


def test_a_short_soak_compares_what_it_has_after_its_beginning() -> None:
    (growth,) = compared([sample(number) for number in (10, 20, 30, 40, 50)])

    assert (growth.first_run, growth.last_run) == (20, 50)
    assert compared([]) == []


def test_a_process_that_was_replaced_is_not_compared() -> None:
    other = sample(5000)
    other["processes"]["worker-a"]["pid"] = 8

    assert compared([sample(500), other]) == []
    assert list(faults_of([sample(500), other], 0)) == [
        "worker-a did not live from run 500 to run 5,000"
    ]


def test_an_hour_with_too_few_runs_to_compare_is_none() -> None:
    hour = sample(4_800, at_seconds=3_550)

    assert list(faults_of([sample(500), sample(3000), hour], 0)) == [
        "only 4,800 runs were done of the 5,000 that are compared"
    ]
    assert list(faults_of([sample(500), sample(3000), sample(4_800, at_seconds=600)], 0)) == []


def test_what_stays_the_same_passes_no_limit() -> None:
    assert list(faults_of([sample(500), sample(3000), sample(5000)], 0)) == []


def test_each_limit_that_is_passed_is_named() -> None:
    grown = 40 + GROWTH_LIMIT_BYTES / MIB + 1
    late = sample(
        5000, grown, 40, connections=30, clients=60, stale_locks=2, overdue_rows=7, rows=9000
    )

    assert list(faults_of([sample(500), sample(3000), late], 3)) == [
        "worker-a grew by 6.0 MB between run 500 and run 5,000",
        "worker-a had 12 open files, and 40 later",
        "there were 14 connections to PostgreSQL, and 30 later",
        "there were 30 connections to the broker, and 60 later",
        "2 locks are held by sessions that do nothing",
        "7 runs are older than the retention",
        "3 promises were broken",
    ]


def test_the_section_has_a_line_for_each_process_and_each_figure() -> None:
    soak = {
        "taken": "20,000 slots of seed 1 in 60 minutes.",
        "slots": 20_000,
        "violations": 0,
        "faults": ["beat-b killed", "worker-b killed", "beat-b killed"],
        "day_seconds": 240.0,
        "samples": [sample(500), sample(3000), sample(5000, 41.5)],
    }

    text = section(soak)

    assert "| worker-a | 500 | 40.0 MB | 5,000 | 41.5 MB | 1.5 MB | 12, 12 |" in text
    assert "| slots that were due | 20,000 |" in text
    assert "| faults in between | 3: beat-b killed 2, worker-b killed 1 |" in text
    assert "| limits passed | none |" in text
    assert section({}) == "Not run yet."
