"""Whether a VACUUM or ANALYZE did what it was run for."""

from dataclasses import replace
from typing import Any

import pytest

from maintenance.core.plans import Verdict
from maintenance.postgres.activity.sessions import XminHolder
from maintenance.postgres.vacuum.needs import Needs
from maintenance.postgres.vacuum.output import VacuumOutput
from maintenance.postgres.vacuum.plan import TableTask
from maintenance.postgres.vacuum.verdict import Observed, needs_holders, verdict_of
from tests.unit.test_postgres_vacuum_health import TABLE

#: What a server says whose messages are translated: nothing that is understood.
UNREAD = VacuumOutput(None, None)
HOLDER = XminHolder("session", "77", "app", "report", "idle in transaction", 900.0, 5)
BEFORE = replace(TABLE, dead_rows=9_000)


def task(**needs: Any) -> TableTask:
    return TableTask(TABLE, Needs(**{"vacuum": ("dead rows",), "dead_rows_due": 2_050.0, **needs}))


def observed(
    output: VacuumOutput, *holders: XminHolder, before: Any = BEFORE, **after: Any
) -> Observed:
    later = {"vacuum_count": 2, "analyze_count": 2, **after}
    return Observed(before, replace(before, **later), output, holders)


def verdict(
    output: VacuumOutput, *holders: XminHolder, needs: dict[str, Any] | None = None, **after: Any
) -> tuple[Verdict, str]:
    return verdict_of(task(**(needs or {})), observed(output, *holders, **after))


def test_what_was_removed_and_what_had_to_stay_is_said() -> None:
    assert verdict(VacuumOutput(9_000, 0), dead_rows=0) == (
        Verdict.WORKED,
        "9,000 dead rows removed",
    )
    kept = verdict(VacuumOutput(7_000, 2_000), HOLDER, needs={"analyze": ("changed",)})
    assert kept == (
        Verdict.WORKED,
        (
            "7,000 dead rows removed, 2,000 dead rows must stay for running transactions,"
            " statistics are fresh"
        ),
    )


def test_rows_that_had_to_stay_above_the_trigger_are_blocked_by_a_name() -> None:
    found, sentence = verdict(VacuumOutput(10, 2_051), HOLDER)
    assert found is Verdict.BLOCKED
    assert sentence.startswith("2,051 dead rows could not be removed, 10 rows could: process 77")
    assert verdict(VacuumOutput(10, 2_050), HOLDER)[0] is Verdict.WORKED
    assert verdict(VacuumOutput(5_000, 4_000), HOLDER)[0] is Verdict.WORKED
    ended = verdict(VacuumOutput(0, 3_000))
    assert "whatever held them back ended meanwhile" in ended[1]


def test_rows_that_are_still_counted_are_blocked_where_the_messages_are_translated() -> None:
    seen = observed(UNREAD, HOLDER, dead_rows=9_000)
    assert needs_holders(task(), seen)

    found, sentence = verdict_of(task(), seen)

    assert found is Verdict.BLOCKED
    assert sentence.startswith("9,000 dead rows are still counted after it: process 77")
    assert "application report" in sentence
    assert "lc_messages" in sentence


@pytest.mark.parametrize("dead_rows", [0, 2_050])
def test_what_is_below_the_trigger_afterwards_worked_also_in_another_language(
    dead_rows: int,
) -> None:
    seen = observed(UNREAD, HOLDER, dead_rows=dead_rows)
    assert not needs_holders(task(), seen)
    found, sentence = verdict_of(task(), seen)
    assert found is Verdict.WORKED
    assert sentence == f"vacuumed; {dead_rows:,} dead rows counted now"


def test_rows_that_nobody_holds_are_new_ones_where_the_messages_are_translated() -> None:
    assert verdict(UNREAD, dead_rows=3_000) == (
        Verdict.WORKED,
        "vacuumed; 3,000 dead rows counted now",
    )


def test_most_rows_gone_is_no_block_in_another_language_either() -> None:
    seen = observed(UNREAD, HOLDER, before=replace(TABLE, dead_rows=90_000), dead_rows=9_000)
    assert verdict_of(task(), seen)[0] is Verdict.WORKED


def test_what_the_server_did_not_count_it_did_not_do() -> None:
    output = VacuumOutput(None, None, warnings=('permission denied to vacuum "t"',))
    assert verdict(output, vacuum_count=1) == (
        Verdict.FAILED,
        'the server did not vacuum it: permission denied to vacuum "t"',
    )
    found, sentence = verdict(VacuumOutput(1, 0), needs={"analyze": ("changed",)}, analyze_count=1)
    assert (found, sentence) == (
        Verdict.FAILED,
        "the server did not analyze it: the server does not say why",
    )


def test_a_table_that_is_gone_was_refused() -> None:
    assert verdict_of(task(), Observed(BEFORE, None, VacuumOutput(1, 0)))[0] is Verdict.REFUSED


def test_an_analyze_is_judged_by_its_count_alone() -> None:
    needs = {"vacuum": (), "analyze": ("changed",)}
    assert verdict(UNREAD, needs=needs, dead_rows=9_000) == (
        Verdict.WORKED,
        "statistics are fresh",
    )


def test_an_age_that_stands_still_is_blocked() -> None:
    old = replace(BEFORE, xid_age=300_000_000, multixact_age=0)
    stuck = observed(VacuumOutput(5, 0), HOLDER, before=old, xid_age=300_000_010)
    assert needs_holders(task(freeze=True), stuck)
    found, sentence = verdict_of(task(freeze=True), stuck)
    assert found is Verdict.BLOCKED
    assert sentence.startswith("its age did not go down: process 77")
    frozen = observed(VacuumOutput(5, 0), before=old, xid_age=50_000_000)
    assert not needs_holders(task(freeze=True), frozen)
    assert verdict_of(task(freeze=True), frozen) == (
        Verdict.WORKED,
        "5 dead rows removed, old rows frozen",
    )


def test_rows_that_readers_had_pruned_are_no_gain_and_inserts_are_a_map_to_bring_up_to_date() -> (
    None
):
    assert verdict(VacuumOutput(0, 0)) == (Verdict.NO_GAIN, "no dead row was left to remove")
    clean = observed(VacuumOutput(0, 0), before=TABLE)
    assert verdict_of(task(), clean) == (Verdict.WORKED, "visibility map brought up to date")
