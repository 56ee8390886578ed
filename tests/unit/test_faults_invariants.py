"""The counting of ``make faults``: each broken promise is found, and a sound history has none."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from faults.invariants import (
    Execution,
    LedgerRow,
    effective_runs,
    executions,
    overlaps,
    rows_of_slots,
    whole_reports,
)

START = datetime(2026, 3, 1, tzinfo=UTC)
SLOT = ("marks", "library", START)
ROW = LedgerRow(
    run="a",
    task="mark",
    slot=SLOT,
    state="succeeded",
    is_finished=True,
    finished_at=START + timedelta(seconds=9),
    reports=1,
    findings=2,
    findings_in_report=2,
)


def execution(token: str, begin: float, last: float, *, run: str = "a", node: int = 1) -> Execution:
    """One execution with an effect at its end, in seconds after the start."""
    end = START + timedelta(seconds=last)
    return Execution(
        token=token,
        run=run,
        task="mark",
        target="library",
        node=node,
        begin=START + timedelta(seconds=begin),
        last=end,
        effects=[end],
        ended=True,
    )


def test_a_sound_history_breaks_nothing() -> None:
    done = [execution("x", 1, 2)]
    assert not list(rows_of_slots([SLOT], [ROW]))
    assert not list(effective_runs([ROW], done, ()))
    assert not list(overlaps(done))
    assert not list(whole_reports([ROW], ()))


def test_slots_and_rows_must_be_the_same() -> None:
    assert [v.what for v in rows_of_slots([SLOT], [])] == ["marks on library has no row"]
    assert [v.what for v in rows_of_slots([SLOT], [ROW, replace(ROW, run="b")])] == [
        "marks on library has 2 rows"
    ]
    assert [v.what for v in rows_of_slots([], [ROW])] == [
        "marks on library has a row, and was not due"
    ]
    unfinished = replace(ROW, is_finished=False, state="queued")
    assert [v.what for v in rows_of_slots([SLOT], [unfinished])] == ["run a of marks is queued"]


def test_an_effect_is_repeated_only_by_the_successor_of_one_that_was_disturbed() -> None:
    done = [execution("x", 1, 2, node=1), execution("y", 4, 5, node=2)]
    assert not list(effective_runs([ROW], done, {1}))
    assert [v.what for v in effective_runs([ROW], done, {2})] == [
        "marks on library for 00:00:00: an effect was repeated"
    ]


def test_nothing_may_be_done_once_the_next_execution_has_begun() -> None:
    done = [execution("x", 1, 6, node=1), execution("y", 4, 5, node=2)]
    assert [v.what for v in effective_runs([ROW], done, {1})] == [
        "marks on library for 00:00:00: x went on beside y"
    ]


def test_nothing_may_begin_once_the_run_has_ended() -> None:
    late = execution("x", 10, 11)
    assert "began after the end" in next(effective_runs([ROW], [late], ())).what


def test_two_rows_of_one_slot_are_two_runs_of_it() -> None:
    twin = replace(ROW, run="b")
    done = [execution("x", 1, 2), execution("y", 4, 5, run="b")]
    assert len(list(effective_runs([ROW, twin], done, ()))) == 1


def test_runs_of_one_task_on_one_target_exclude_each_other() -> None:
    done = [execution("x", 1, 3), execution("y", 2, 4, run="b")]
    assert [v.what for v in overlaps(done)] == ["mark on library: a beside b"]
    assert not list(overlaps([done[0], replace(done[1], target="archive")]))


def test_reports_are_whole_and_nothing_is_held_by_nobody() -> None:
    assert "2 of its findings" not in next(whole_reports([replace(ROW, findings=1)], ())).what
    assert "with 0 reports" in next(whole_reports([replace(ROW, reports=0)], ())).what
    assert "nobody works on it" in next(whole_reports([ROW], {"a"})).what


def test_marks_are_put_together_by_execution() -> None:
    def mark(kind: str, second: float) -> dict[str, object]:
        head = {"run": "a", "task": "mark", "target": "library", "execution": "x", "node": 1}
        return {**head, "kind": kind, "at": START + timedelta(seconds=second)}

    assert executions([mark("begin", 1), mark("effect", 2), mark("end", 2)]) == [
        execution("x", 1, 2)
    ]
