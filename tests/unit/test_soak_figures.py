"""Figures of a soak: which samples are compared, which limits are passed, and how that is said."""

from typing import Any

from faults.soak_figures import GROWTH_LIMIT_BYTES, SIDE, compared, faults_of, section

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
        "files": 900,
        "unknown_files": 0,
        "longest_stream": 10,
        "ended": {"maintenance.mark": {"succeeded": 95, "skipped": 4, "failed": 1}},
        **more,
    }


def hour(of: Any = sample) -> list[dict[str, Any]]:
    """Return samples of every hundredth run, as an hour has them."""
    return [of(runs) for runs in range(0, 9_001, 100)]


def test_memory_is_compared_about_run_500_and_run_5000_and_at_the_end() -> None:
    (growth,) = compared(hour(lambda runs: sample(runs, 40 + runs / 1000)))

    assert (growth.first.run, growth.last.run, growth.end.run) == (500, 5000, 8600)
    assert growth.first.pss_bytes == int(40.7 * MIB)  # the median of the five from there on
    assert round(growth.grown_bytes(growth.last) / MIB, 3) == 4.5
    assert round(growth.grown_bytes(growth.end) / MIB, 3) == 8.1


def test_one_sample_that_is_busy_decides_nothing() -> None:
    busy = hour()
    busy[5] = sample(500, 90, 60)
    busy[50] = sample(5000, 90, 60)

    assert list(faults_of(busy, 0)) == []


def test_a_short_soak_compares_what_it_has_after_its_beginning() -> None:
    (growth,) = compared([sample(number) for number in (10, 20, 30, 40, 50)])

    assert (growth.first.run, growth.last.run, growth.end.run) == (20, 50, 50)
    assert compared([]) == []
    assert list(faults_of([], 0)) == ["nothing was measured"]


def test_a_process_that_was_replaced_is_not_compared() -> None:
    later = hour()
    for late in later[-SIDE * 3 :]:
        late["processes"]["worker-a"]["pid"] = 8

    assert compared(later) == []
    assert list(faults_of(later, 0)) == ["worker-a did not live from run 500 to the end"]


def test_an_hour_with_too_few_runs_to_compare_is_none() -> None:
    few = [sample(runs, at_seconds=runs * 0.75) for runs in range(0, 4_801, 100)]
    quick = [{**one, "at_seconds": one["runs"] / 10} for one in few]

    (fault,) = faults_of(few, 0)

    assert fault == "only 4,400 runs were done of the 5,000 that are compared"
    assert list(faults_of(quick, 0)) == []


def test_what_stays_the_same_passes_no_limit() -> None:
    assert list(faults_of(hour(), 0)) == []


def test_each_limit_that_is_passed_is_named() -> None:
    def growing(runs: int) -> dict[str, Any]:
        if runs < 4000:
            return sample(runs)
        return sample(
            runs,
            40 + GROWTH_LIMIT_BYTES / MIB + 1,
            40,
            connections=30,
            clients=60,
            stale_locks=2,
            overdue_rows=7,
            unknown_files=3,
            ended={"maintenance.mark": {"succeeded": 10, "failed": 90}},
        )

    assert list(faults_of(hour(growing), 3)) == [
        "3 promises were broken",
        "worker-a grew by 6.0 MB between run 500 and run 5,000",
        "worker-a had 12 open files, and 40 about run 5,000",
        "worker-a grew by 6.0 MB between run 500 and run 8,600",
        "worker-a had 12 open files, and 40 about run 8,600",
        "there were 14 connections to PostgreSQL, and 30 later",
        "there were 30 connections to the broker, and 60 later",
        "2 locks are held by sessions that do nothing",
        "7 runs are older than the retention",
        "3 files of reports belong to no run",
        "of maintenance.mark 47% of the runs succeeded, 2% were skipped",
    ]


def test_a_lock_that_one_look_met_is_none_that_stays() -> None:
    once = hour()
    once[40] = sample(4000, stale_locks=1)

    assert list(faults_of(once, 0)) == []


def test_the_section_has_a_line_for_each_process_and_each_figure() -> None:
    soak = {
        "taken": "20,000 slots of seed 1 in 60 minutes.",
        "slots": 20_000,
        "violations": 0,
        "faults": ["beat-b killed", "worker-b killed", "beat-b killed"],
        "day_seconds": 240.0,
        "samples": hour(lambda runs: sample(runs, 40 + runs / 10_000)),
    }

    text = section(soak)

    assert (
        "| worker-a | 500 | 40.1 MB | 5,000 | 40.5 MB | 0.4 MB | 8,600 | 40.9 MB | 0.8 MB | 12, 12, 12 |"
        in text
    )
    assert "| slots that were due | 20,000 |" in text
    assert "| runs that succeeded, by task | mark 95.0% (4.0% skipped) |" in text
    assert "| faults in between | 3: beat-b killed 2, worker-b killed 1 |" in text
    assert "| files of reports, at the beginning and the end; of no run | 900, 900; 0 |" in text
    assert "| limits passed | none |" in text
    assert section({}) == "Not run yet."
