"""Which indexes are rebuilt and which not, what a leftover is, and what a rebuild came to."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import Pacing
from maintenance.core.errors import Skipped
from maintenance.core.job import Point
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.postgres.activity.sessions import XminHolder
from maintenance.postgres.indexes.catalog import IndexState
from maintenance.postgres.reindex.left_behind import LeftBehind, Remaining
from maintenance.postgres.reindex.leftovers import is_still_leftover, leftovers_among
from maintenance.postgres.reindex.measure import refuse_version, with_history
from maintenance.postgres.reindex.plan import (
    ANALYZE,
    DROP,
    REINDEX,
    Candidate,
    IndexFacts,
    Rules,
    plan_reindex,
)
from maintenance.postgres.reindex.preflight import (
    Obstacle,
    refusal_for_transactions,
)
from maintenance.postgres.reindex.report import reindex_report
from maintenance.postgres.reindex.verdict import IndexSnapshot, judge
from maintenance.postgres.repair.disk import Disk, refusal_for_disk, unknown_disk
from maintenance.postgres.repair.harm import Harm

MB = 1024**2
DAY = 86_400.0
RULES = Rules(minimum_bloat_ratio=0.3, minimum_bloat_bytes=MB, server_major=17)


def facts(name: str = "i", **values: Any) -> IndexFacts:
    return IndexFacts(
        **{
            "oid": sum(name.encode()),
            "table_oid": 7,
            "schema": "public",
            "name": name,
            "statement_name": f"public.{name}",
            "table_name": "public.t",
            "qualified_name": f"public.t.{name}",
            "method": "btree",
            "catalog_size_bytes": 10 * MB,
            "is_catalog": False,
            "is_toast": False,
            "is_temporary": False,
            "is_partitioned": False,
            "is_exclusion": False,
            "is_usable": True,
            "has_expressions": False,
            "is_partial": False,
            "may_rebuild": True,
            **values,
        }
    )


def bloated(
    name: str = "i", ratio: float = 0.5, *, size: int = 10 * MB, **values: Any
) -> Candidate:
    flags = {key: values.pop(key) for key in list(values) if key in IndexFacts.__slots__}
    given_values = {
        "fresh_bytes": round(size * (1 - ratio)),
        "bloat_ratio": ratio,
        "bloat_low_ratio": ratio - 0.01,
        **values,
    }
    return Candidate(facts(name, **flags), size, **given_values)


def state(oid: int = 1, name: str = "i", **values: Any) -> IndexState:
    return IndexState(
        **{
            "oid": oid,
            "table_oid": 7,
            "schema": "public",
            "plain_table_name": "t",
            "table_name": "public.t",
            "name": name,
            "qualified_name": f"public.t.{name}",
            "is_toast": False,
            "is_partitioned": False,
            "parent_oid": None,
            "access_method": "btree",
            "size_bytes": 5 * MB,
            "table_pages": 1000,
            "xid_age": 10,
            "committed_at": None,
            "scans": 0,
            "last_scan_at": None,
            "writes": 0,
            "is_primary": False,
            "is_unique": False,
            "nulls_not_distinct": False,
            "is_immediate": True,
            "is_exclusion": False,
            "is_replica_identity": False,
            "is_clustered": False,
            "has_constraint": False,
            "is_referenced": False,
            "is_valid": True,
            "is_ready": True,
            "is_live": True,
            "is_in_work": False,
            "key_count": 1,
            "columns": (1,),
            "operator_classes": (1978,),
            "collations": (0,),
            "sort_options": (0,),
            "storage_parameters": (),
            "operator_class_options": "",
            "expressions": None,
            "predicate": None,
            **values,
        }
    )


def leftover(oid: int = 2, name: str = "i_ccnew", **values: Any) -> IndexState:
    return state(oid, name, **{"is_valid": False, **values})


# The plan


def test_most_bytes_come_first_and_small_gains_not_at_all() -> None:
    candidates = [
        bloated("small", size=MB),
        bloated("middle", size=20 * MB),
        bloated("large", size=90 * MB),
        bloated("lean", 0.1, size=900 * MB),
    ]

    plan = plan_reindex(candidates, (), RULES)

    assert [step.action.statement for step in plan.steps] == [
        "REINDEX INDEX CONCURRENTLY public.large",
        "REINDEX INDEX CONCURRENTLY public.middle",
    ]
    assert plan.refused == ()
    assert plan.steps[0].action.predicted["gain_bytes"] == 45 * MB


def test_half_of_the_threshold_has_to_be_sure() -> None:
    unsure = bloated(ratio=0.3, bloat_low_ratio=0.14)
    assert plan_reindex([unsure], (), RULES).steps == ()
    assert plan_reindex([replace(unsure, bloat_low_ratio=0.15)], (), RULES).steps != ()
    lean = bloated(ratio=0.29, bloat_low_ratio=0.28)
    assert plan_reindex([lean], (), RULES).steps == ()
    unmeasured = replace(unsure, bloat_ratio=None, fresh_bytes=None)
    assert plan_reindex([unmeasured], (), RULES).steps == ()


def test_a_named_index_is_rebuilt_whatever_its_bloat_and_its_last_rebuild() -> None:
    named = Candidate(facts(), MB, is_named=True, rebuilt_seconds_ago=DAY)
    (step,) = plan_reindex([named], (), RULES).steps
    assert step.action.reason == "its bloat could not be measured; it was named"
    assert step.action.predicted["gain_bytes"] is None
    assert step.action.predicted["disk_bytes"] == 2 * MB


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"is_catalog": True}, "system catalog"),
        ({"schema": "kept"}, 'schema "kept" is excluded'),
        ({"is_temporary": True}, "temporary"),
        ({"is_partitioned": True}, "name the indexes of its partitions"),
        ({"is_usable": False}, "second valid index of the same kind"),
        ({"is_exclusion": True}, "exclusion constraint"),
        ({"is_toast": True}, "TOAST"),
        ({"rebuilt_seconds_ago": 9 * DAY}, "it was rebuilt 9 days ago"),
    ],
)
def test_what_must_not_be_rebuilt_is_refused_with_its_reason(
    values: dict[str, Any], words: str
) -> None:
    rules = replace(RULES, excluded_schemas=("kept",))
    plan = plan_reindex([bloated(**values)], (), rules)
    assert plan.steps == ()
    (outcome,) = plan.refused
    assert outcome.verdict is Verdict.REFUSED
    assert words in outcome.sentence


def test_ten_days_after_a_rebuild_an_index_may_be_rebuilt_again() -> None:
    assert plan_reindex([bloated(rebuilt_seconds_ago=10 * DAY)], (), RULES).steps != ()


def test_an_index_of_somebody_else_is_named_and_left() -> None:
    plan = plan_reindex([bloated(may_rebuild=False)], (), RULES)
    assert plan.steps == ()
    assert plan.without_rights == ("public.t.i",)


def test_statistics_come_last_and_once_a_table() -> None:
    candidates = [
        bloated("a", has_expressions=True),
        bloated("b", has_expressions=True, table_oid=7),
        bloated("c", table_oid=8, table_name="public.u"),
    ]

    plan = plan_reindex(candidates, (), RULES, analyze_due={9: "public.v"})

    kinds = [(step.action.kind, step.action.statement) for step in plan.steps if step.index is None]
    assert kinds == [(ANALYZE, "ANALYZE public.v"), (ANALYZE, "ANALYZE public.t")]
    stages = {step.action.kind: step.stage for step in plan.steps}
    assert stages[ANALYZE] > stages[REINDEX]


def test_statistics_are_of_the_table_alone_where_children_would_come_with_it() -> None:
    rules = replace(RULES, server_major=18)
    plan = plan_reindex([bloated("a", has_expressions=True)], (), rules)
    assert plan.steps[-1].action.statement == "ANALYZE ONLY public.t"


def test_leftovers_are_dropped_before_anything_is_rebuilt_each_under_a_key_of_its_own() -> None:
    drops = [(leftover(n), "DROP INDEX CONCURRENTLY public.i_ccnew") for n in (2, 3)]
    plan = plan_reindex([bloated()], drops, RULES)
    assert [step.action.kind for step in plan.steps] == [DROP, DROP, REINDEX]
    assert plan.steps[0].stage < plan.steps[2].stage
    assert len({step.key for step in plan.steps}) == 3


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=12))
def test_rebuilds_that_wait_for_each_others_snapshots_never_run_at_once(
    kinds: Sequence[tuple[bool, bool]],
) -> None:
    candidates = [
        bloated(f"i{n}", table_oid=n, has_expressions=expressions, is_partial=partial)
        for n, (expressions, partial) in enumerate(kinds)
    ]

    plan = plan_reindex(candidates, (), RULES, jobs=2)

    rebuilds = [step for step in plan.steps if step.index]
    for step in rebuilds:
        beside = [other for other in rebuilds if other.stage == step.stage and other is not step]
        if step.index and (step.index.has_expressions or step.index.is_partial):
            assert beside == []
    assert len(rebuilds) == len(kinds)


class Seen:
    """A history of some series."""

    def __init__(self, **series: Mapping[str, Sequence[Point]]) -> None:
        self._series = series

    def series_by_subject(self, metric: str, *_: Any, **__: Any) -> Mapping[str, Sequence[Point]]:
        return self._series.get(metric, {})

    def series(self, metric: str, subject: str = "", **_: Any) -> Sequence[Point]:
        return self.series_by_subject(metric).get(subject, ())

    def highest(self, *_: Any, **__: Any) -> Point | None:
        return None


def test_time_is_foretold_from_earlier_rebuilds_of_the_index_else_from_all() -> None:
    history = Seen(
        reindex_bytes_per_second={
            "public.t.known": [Point(0, 1.0), Point(1, 5.0 * MB)],
            "public.t.other": [Point(1, 1.0 * MB)],
            "public.t.third": [Point(1, 2.0 * MB)],
        },
        reindex_seconds={"public.t.known": [Point(1000, 3.0)]},
    )

    known, unknown = with_history([bloated("known"), bloated("unknown")], history, 1060)

    assert known.seconds == 1  # 5 MB are left of 10
    assert known.rebuilt_seconds_ago == 60
    assert unknown.seconds == 2.5
    assert unknown.rebuilt_seconds_ago is None
    (nobody_knows,) = with_history([bloated()], Seen(), 1060)
    assert nobody_knows.seconds is None


@pytest.mark.parametrize("version", [140_000, 140_003])
def test_versions_that_corrupt_indexes_are_refused(version: int) -> None:
    with pytest.raises(Skipped, match=r"14\.\d: REINDEX CONCURRENTLY of 14\.0 to 14\.3 can lose"):
        refuse_version(version)
    refuse_version(140_004)
    refuse_version(180_000)


# Leftovers


@pytest.mark.parametrize("name", ["i_ccnew", "i_ccold", "i_ccnew12", "x" * 57 + "_ccnew"])
def test_an_invalid_copy_beside_a_valid_index_is_a_leftover(name: str) -> None:
    spare = leftover(name=name)
    assert leftovers_among([state(), spare]) == [spare]
    assert is_still_leftover(spare, [state(), spare])


@pytest.mark.parametrize(
    "values",
    [
        {"is_valid": True},
        {"is_in_work": True},
        {"has_constraint": True},
        {"is_referenced": True},
        {"is_primary": True},
        {"is_replica_identity": True},
        {"is_partitioned": True},
        {"parent_oid": 99},
        {"columns": (2,)},
        {"predicate": "{a}"},
        {"expressions": "{b}"},
        {"is_unique": True},
        {"table_oid": 8},
        {"name": "i"},
        {"name": "i_ccnewer"},
    ],
)
def test_what_is_not_surely_a_spare_copy_is_no_leftover(values: dict[str, Any]) -> None:
    assert leftovers_among([state(), replace(leftover(), **values)]) == []


def test_the_only_index_of_its_kind_is_never_dropped() -> None:
    assert leftovers_among([leftover()]) == []
    assert leftovers_among([leftover(), leftover(3, "i_ccnew1")]) == []
    half_dropped = state(is_live=False)
    assert leftovers_among([half_dropped, leftover()]) == []
    toast = leftover(is_toast=True, name="pg_toast_1_index_ccnew")
    assert leftovers_among([toast]) == [toast]
    assert not is_still_leftover(toast, [toast])
    assert is_still_leftover(toast, [toast, state(is_toast=True)])


def test_another_index_that_took_the_name_is_no_leftover() -> None:
    spare = leftover()
    assert not is_still_leftover(spare, [state(), leftover(4)])
    assert not is_still_leftover(spare, [state(), replace(spare, is_valid=True)])
    assert not is_still_leftover(spare, [state(), replace(spare, name="renamed_ccnew")])


indexes = st.builds(
    state,
    oid=st.integers(1, 10_000),
    name=st.sampled_from(["i", "i_ccnew", "i_ccold1", "k_ccnew", "j"]),
    table_oid=st.integers(1, 2),
    is_valid=st.booleans(),
    is_ready=st.booleans(),
    is_live=st.booleans(),
    is_in_work=st.booleans(),
    has_constraint=st.booleans(),
    is_unique=st.booleans(),
    columns=st.sampled_from([(1,), (2,), (1, 2)]),
    predicate=st.sampled_from([None, "{p}"]),
)


@given(st.lists(indexes, max_size=12, unique_by=lambda index: index.oid))
def test_after_dropping_all_leftovers_each_has_a_valid_index_of_its_structure(
    present: list[IndexState],
) -> None:
    spares = leftovers_among(present)
    kept = [index for index in present if index not in spares]
    for spare in spares:
        assert not spare.is_valid
        assert any(
            index.is_valid
            and index.table_oid == spare.table_oid
            and index.structure == spare.structure
            for index in kept
        )
        assert is_still_leftover(spare, present)


# Before


def obstacle(seconds: float | None, kind: str = "session") -> Obstacle:
    return Obstacle(XminHolder(kind, "77", "app", "web", "idle in transaction", seconds, 0), True)


def test_only_old_transactions_are_a_reason_to_wait() -> None:
    assert refusal_for_transactions([obstacle(59), obstacle(None)], 60) == ""
    reason = refusal_for_transactions([obstacle(61)], 60)
    assert "it would wait for process 77 (user app" in reason
    assert "more than 1 minute" in reason
    assert '"77"' in refusal_for_transactions([obstacle(61, "prepared transaction")], 60)


def test_a_rebuild_takes_half_of_the_free_disk_at_the_most() -> None:
    assert refusal_for_disk(Disk(20 * MB, 0), 10 * MB, None) == ""
    assert "more than half of the 19 MB" in refusal_for_disk(Disk(19 * MB, 0), 10 * MB, None)
    assert refusal_for_disk(Disk(None, 90 * MB), 10 * MB, 100 * MB) == ""
    assert "would pass its limit" in refusal_for_disk(Disk(None, 91 * MB), 10 * MB, 100 * MB)
    assert refusal_for_disk(Disk(None, 10**15), 10 * MB, None) == ""


def test_wal_on_another_disk_has_to_find_room_there() -> None:
    assert refusal_for_disk(Disk(10 * MB, 0, wal_free_bytes=10 * MB), 10 * MB, None) == ""
    full = refusal_for_disk(Disk(100 * MB, 0, wal_free_bytes=9 * MB), 10 * MB, None)
    assert full.startswith("it writes 5.0 MB of WAL to another disk, more than half of the 9")
    full = refusal_for_disk(Disk(9 * MB, 0, wal_free_bytes=100 * MB), 10 * MB, None)
    assert full.startswith("it needs 5.0 MB for a copy, more than half of the 9")


def test_a_disk_that_nobody_can_look_at_is_said_where_no_limit_stands_in_for_it() -> None:
    [finding] = unknown_disk("reindex-disk", Disk(None, 0), None)
    assert finding.sentence.startswith("unavailable: how much disk is free for a copy needs size_")
    assert unknown_disk("reindex-disk", Disk(None, 0), 100 * MB) == ()
    assert unknown_disk("reindex-disk", Disk(1, 0), None) == ()


# After

ACTION = Action(REINDEX, "public.t.i", "REINDEX INDEX CONCURRENTLY public.i", "bloat")


def snapshot(size: int, **values: Any) -> IndexSnapshot:
    return IndexSnapshot(
        **{
            "oid": size,
            "size_bytes": size,
            "scans": 3,
            "is_usable": True,
            "kept": {"definition": "d", "clustered": False},
            **values,
        }
    )


def test_a_rebuild_is_judged_by_a_second_measurement() -> None:
    before = snapshot(10 * MB)
    worked = judge(ACTION, before, snapshot(4 * MB), 2.0)
    assert worked.verdict is Verdict.WORKED
    assert worked.sentence.startswith("10 MB before, 4.0 MB after: 6.0 MB gained, in 2 seconds")
    assert worked.after["gained_bytes"] == 6 * MB
    assert judge(ACTION, before, snapshot(10 * MB - 8192), 2.0).verdict is Verdict.NO_GAIN
    assert judge(ACTION, before, snapshot(11 * MB), 2.0).verdict is Verdict.NO_GAIN


def test_an_index_that_is_not_as_it_was_failed() -> None:
    before = snapshot(10 * MB)
    changed = judge(ACTION, before, snapshot(MB, kept={"definition": "d", "clustered": True}), 1.0)
    assert changed.verdict is Verdict.FAILED
    assert "clustered differ" in changed.sentence
    assert judge(ACTION, before, None, 1.0).verdict is Verdict.FAILED
    assert judge(ACTION, before, snapshot(MB, is_usable=False), 1.0).verdict is Verdict.FAILED
    assert judge(ACTION, before, snapshot(MB, oid=before.oid), 1.0).verdict is Verdict.FAILED


def test_scans_that_begin_anew_are_said() -> None:
    assert "began anew" in judge(ACTION, snapshot(10), snapshot(2, scans=0), 1.0).sentence
    assert "began anew" not in judge(ACTION, snapshot(10), snapshot(2, scans=4), 1.0).sentence


def report_of(*outcomes: Outcome, left: LeftBehind | None = None) -> Any:
    return reindex_report(
        plan_reindex((), (), RULES),
        (),
        outcomes,
        left=left or LeftBehind(),
        harm=Harm(),
        pacing=Pacing(),
        too_small=0,
        in_the_way={},
        state={},
    )


def test_a_leftover_that_stays_is_named_and_asked_for_again() -> None:
    stays = Remaining(leftover(), "DROP INDEX CONCURRENTLY public.i_ccnew", "in use by x", True)
    report = report_of(left=LeftBehind((stays,)))
    (finding,) = report.findings
    assert finding.code == "reindex-leftover"
    assert "public.t.i_ccnew (5.0 MB)" in finding.sentence
    assert "every write still keeps it up to date: in use by x" in finding.sentence
    assert report.follow_up.options == {"leftovers_only": True}
    assert report_of(left=LeftBehind((replace(stays, may_drop=False),))).follow_up is None
    assert report_of().follow_up is None


def test_tables_that_nobody_could_look_at_are_named_and_looked_at_again() -> None:
    report = report_of(left=LeftBehind((), ("public.t", "public.u"), "the server is away"))
    (finding,) = report.findings
    assert finding.code == "reindex-leftovers-unseen"
    assert "on public.t, public.u: it could not be looked at (the server is away)" in (
        finding.sentence
    )
    assert report.follow_up.options == {"leftovers_only": True}


def test_samples_are_kept_of_what_was_rebuilt_alone() -> None:
    worked = judge(ACTION, snapshot(10 * MB), snapshot(4 * MB), 2.0)
    refused = Outcome(replace(ACTION, subject="public.t.j"), Verdict.REFUSED, "no")
    samples = {(s.metric, s.subject): s.value for s in report_of(worked, refused).samples}
    assert samples == {
        ("reindex_seconds", "public.t.i"): 2.0,
        ("reindex_gained_bytes", "public.t.i"): 6 * MB,
        ("reindex_bytes_per_second", "public.t.i"): 2 * MB,
    }
