"""Which unread index may go: duties, partitions, foreign keys and the window, without a server."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import Thresholds
from maintenance.core.findings import Severity
from maintenance.postgres.counters import CounterWindow
from maintenance.postgres.indexes.age import Horizon, KnownAge
from maintenance.postgres.indexes.catalog import (
    Definition,
    ForeignKey,
    IndexMeasurement,
    IndexState,
    ReplicationClient,
    family_of,
)
from maintenance.postgres.indexes.guards import (
    duty_of,
    rarely_read_indexes,
    supports_fully,
    supports_partly,
    unread_indexes,
)
from maintenance.postgres.indexes.invalid import (
    CORRUPTING_VERSIONS,
    Cause,
    Twins,
    cause_of,
    invalid_indexes,
)
from maintenance.postgres.indexes.options import UnusedIndexOptions
from maintenance.postgres.indexes.replicas import ReplicaScans
from maintenance.postgres.indexes.unused import (
    Judgement,
    UnusedIndexRules,
    judge,
    unused_report,
    withheld_because,
)
from maintenance.postgres.indexes.usage import bounded_table

DAY = 86_400.0
NOW = 1_800_000_000.0


#: Conditions of partial indexes as pg_index keeps them: "column 1 IS NOT NULL", "column 2 > 5".
COLUMN_1_NOT_NULL = (
    "({NULLTEST :arg {VAR :varno 1 :varattno 1 :vartype 23 :vartypmod -1 :varcollid 0"
    " :varlevelsup 0 :varnosyn 1 :varattnosyn 1} :nulltesttype 1 :argisrow false})"
)
COLUMN_2_ABOVE_5 = (
    "({OPEXPR :opno 521 :args ({VAR :varno 1 :varattno 2 :vartype 23} {CONST :consttype 23})})"
)
#: "lower(column 1)" as pg_index keeps it.
LOWER_OF_1 = "({FUNCEXPR :funcid 870 :args ({VAR :varno 1 :varattno 1 :vartype 25})})"


def index(oid: int = 1, **changes: Any) -> IndexState:
    state = IndexState(
        oid=oid,
        table_oid=100,
        schema="public",
        plain_table_name="t",
        table_name="public.t",
        name=f"i{oid}",
        qualified_name=f"public.t.i{oid}",
        is_toast=False,
        is_partitioned=False,
        parent_oid=None,
        access_method="btree",
        size_bytes=1024**2,
        table_pages=1000,
        xid_age=5000,
        committed_at=None,
        scans=0,
        last_scan_at=None,
        writes=7,
        is_primary=False,
        is_unique=False,
        nulls_not_distinct=False,
        is_immediate=True,
        is_exclusion=False,
        is_replica_identity=False,
        is_clustered=False,
        has_constraint=False,
        is_referenced=False,
        is_valid=True,
        is_ready=True,
        is_live=True,
        is_in_work=False,
        key_count=1,
        columns=(1,),
        operator_classes=(1978,),
        collations=(0,),
        sort_options=(0,),
        storage_parameters=(),
        operator_class_options="",
        expressions=None,
        predicate=None,
    )
    return replace(state, **changes)


def foreign_key(*columns: int, table_oid: int = 100) -> ForeignKey:
    names = tuple(f"c{c}" for c in columns)
    return ForeignKey(1, None, "fk", table_oid, 200, columns, names, names)


def measurement(*indexes: IndexState, window_days: float | None = 60.0, **changes: Any) -> Any:
    started_at = None if window_days is None else NOW - window_days * DAY
    given: dict[str, Any] = {
        "indexes": indexes,
        "foreign_keys": (),
        "window": CounterWindow(started_at=started_at, measured_at=NOW),
        "counts": True,
        "is_standby": False,
        "replication_clients": (),
    }
    return IndexMeasurement(**{**given, **changes})


RULES = UnusedIndexRules(minimum_bytes=0, window_seconds=30 * DAY)


def reason(subject: IndexState, *others: IndexState, keys: tuple[ForeignKey, ...] = ()) -> str:
    """Return why ``subject`` is kept; it must be among the unread."""
    (entry,) = (e for e in unread_indexes((subject, *others), keys) if e.index.oid == subject.oid)
    return entry.kept_because


def test_an_unread_plain_index_has_no_reason_to_stay() -> None:
    assert reason(index()) == ""


def test_an_index_with_a_scan_is_not_unread() -> None:
    assert unread_indexes((index(scans=1),), ()) == ()


@pytest.mark.parametrize(
    ("duty", "words"),
    [
        ({"is_primary": True}, "primary key"),
        ({"is_unique": True}, "unique"),
        ({"is_unique": True, "has_constraint": True}, "unique constraint"),
        ({"is_exclusion": True}, "exclusion constraint"),
        ({"is_replica_identity": True}, "replica identity"),
        ({"is_clustered": True}, "clustered"),
        ({"expressions": LOWER_OF_1}, "statistics of its expression"),
        ({"is_valid": False}, "invalid"),
        ({"is_valid": False, "is_in_work": True}, "being built"),
    ],
)
def test_an_index_with_another_duty_stays(duty: dict[str, Any], words: str) -> None:
    assert words in reason(index(**duty))


def test_the_only_index_behind_a_foreign_key_stays() -> None:
    assert 'foreign key "fk"' in reason(index(), keys=(foreign_key(1),))


def test_an_index_behind_a_foreign_key_may_go_while_a_used_one_supports_it() -> None:
    used = index(2, scans=9, columns=(1, 2), key_count=2)
    assert reason(index(), used, keys=(foreign_key(1),)) == ""


def test_of_two_unread_indexes_behind_a_foreign_key_the_smaller_one_stays() -> None:
    small, large = index(2, size_bytes=10), index(1, size_bytes=20)
    keys = (foreign_key(1),)
    assert "foreign key" in reason(small, large, keys=keys)
    assert reason(large, small, keys=keys) == ""


def test_column_2_does_not_support_a_foreign_key_on_column_23() -> None:
    on_23 = foreign_key(23)
    assert not supports_partly(index(columns=(2,)), on_23)
    assert reason(index(columns=(2,)), keys=(on_23,)) == ""


@pytest.mark.parametrize(
    ("changes", "supports"),
    [
        ({}, True),
        ({"predicate": COLUMN_1_NOT_NULL}, True),
        ({"predicate": COLUMN_2_ABOVE_5}, False),
        ({"predicate": COLUMN_1_NOT_NULL.replace("varattno 1 ", "varattno 11 ")}, False),
        ({"predicate": COLUMN_1_NOT_NULL.replace("testtype 1", "testtype 0")}, False),
        ({"access_method": "hash"}, True),
        ({"access_method": "brin"}, False),
        ({"columns": (2, 1), "key_count": 2}, False),
        ({"is_valid": False}, False),
        ({"columns": (0,)}, False),
    ],
)
def test_an_index_supports_a_foreign_key_if_its_lookup_can_use_it(
    changes: dict[str, Any], supports: bool
) -> None:
    assert supports_fully(index(**changes), foreign_key(1)) is supports


def test_a_composite_foreign_key_is_supported_in_any_column_order() -> None:
    both = index(columns=(3, 1), key_count=2)
    key = foreign_key(1, 3)
    assert supports_fully(both, key)
    assert not supports_fully(index(), key)
    assert supports_partly(index(), key)
    assert "foreign key" in reason(index(), keys=(key,))
    assert reason(index(), replace(both, oid=2, scans=1), keys=(key,)) == ""


def test_a_partition_of_a_used_index_stays() -> None:
    parent = index(1, is_partitioned=True, size_bytes=0, writes=0)
    idle, busy = index(2, parent_oid=1), index(3, parent_oid=1, scans=5)
    assert "used on other partitions" in reason(idle, parent, busy)
    assert [e.index.oid for e in unread_indexes((parent, idle, busy), ())] == [2]


def test_an_unread_partitioned_index_goes_as_a_whole() -> None:
    parent = index(1, is_partitioned=True, size_bytes=0, writes=0)
    children = (index(2, parent_oid=1), index(3, parent_oid=1))
    found = {e.index.oid: e for e in unread_indexes((parent, *children), ())}
    assert found[1].kept_because == ""
    assert (found[1].size_bytes, found[1].writes) == (2 * 1024**2, 14)
    assert "goes or stays with it" in found[2].kept_because


def test_a_foreign_key_of_one_partition_keeps_the_whole_partitioned_index() -> None:
    parent = index(1, is_partitioned=True, size_bytes=0, table_oid=99)
    child = index(2, parent_oid=1)
    assert "foreign key" in reason(parent, child, keys=(foreign_key(1),))


some_indexes = st.lists(
    st.builds(
        lambda scans, columns, unique, valid, expression, table: index(
            scans=scans,
            columns=tuple(columns),
            key_count=len(columns),
            is_unique=unique,
            is_valid=valid,
            expressions=LOWER_OF_1 if expression else None,
            table_oid=table,
        ),
        st.integers(0, 1),
        st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.integers(100, 101),
    ),
    max_size=8,
).map(lambda found: tuple(replace(i, oid=n + 1) for n, i in enumerate(found)))
some_keys = st.lists(
    st.builds(
        lambda table, columns: foreign_key(*columns, table_oid=table),
        st.integers(100, 101),
        st.lists(st.integers(1, 3), min_size=1, max_size=2, unique=True),
    ),
    max_size=3,
).map(tuple)


@given(some_indexes, some_keys)
def test_whoever_drops_all_that_is_named_loses_no_duty_and_no_foreign_key_support(
    indexes: tuple[IndexState, ...], keys: tuple[ForeignKey, ...]
) -> None:
    loose = {e.index.oid for e in unread_indexes(indexes, keys) if not e.kept_because}
    left = [i for i in indexes if i.oid not in loose]
    assert all(i.scans == 0 and not duty_of(i) for i in indexes if i.oid in loose)
    for key in keys:
        for supports in (supports_fully, supports_partly):
            before = any(i.table_oid == key.table_oid and supports(i, key) for i in indexes)
            after = any(i.table_oid == key.table_oid and supports(i, key) for i in left)
            assert after or not before


def judged(taken: IndexMeasurement, *replicas: ReplicaScans, known_days: float = 60) -> Judgement:
    """Judge indexes that all are known to exist for so long."""
    state = {"first_seen_at": {str(i.oid): NOW - known_days * DAY for i in taken.indexes}}
    return judge(taken, replicas, KnownAge(NOW, (), state), RULES)


def test_a_short_window_withholds_the_verdict_and_offers_nothing_to_run() -> None:
    report = unused_report(judged(measurement(index(), window_days=3)), {})
    (finding,) = report.findings
    assert finding.severity is Severity.INFO
    assert "is a candidate: no scan in 3 days" in finding.sentence
    assert "the counters must cover 30 days" in finding.sentence
    assert finding.commands == ()
    assert [s.metric for s in report.samples] == ["unused_index_candidate_bytes"]


def test_a_long_window_gives_the_verdict_with_reviewed_statements_both_ways() -> None:
    definition = Definition(("DROP INDEX CONCURRENTLY i;",), ("CREATE INDEX CONCURRENTLY i;",))
    report = unused_report(judged(measurement(index())), {1: definition})
    (finding,) = report.findings
    assert finding.severity is Severity.WARNING
    assert finding.commands == definition.drop
    assert finding.undo == definition.create
    assert finding.evidence["window_seconds"] == 60 * DAY
    assert [(s.metric, s.value) for s in report.samples] == [("unused_index_bytes", 1024**2)]


def test_an_index_that_may_be_younger_than_the_window_is_a_candidate() -> None:
    judgement = judged(measurement(index()), known_days=29)
    report = unused_report(judgement, {})
    (finding,) = report.findings
    assert finding.severity is Severity.INFO
    assert "it is known to exist for 29 days only, not for 30 days" in finding.sentence
    assert "1 more may be younger than 30 days" in report.summary


def replica(window_days: float | None = 60, problem: str = "", **scans: int) -> ReplicaScans:
    started_at = None if window_days is None else NOW - window_days * DAY
    by_oid = {int(oid.removeprefix("of_")): count for oid, count in scans.items()}
    return ReplicaScans("db2:5432/site", CounterWindow(started_at, NOW), by_oid, problem)


def test_an_index_that_a_replica_reads_is_in_use() -> None:
    judgement = judged(measurement(index(), index(2)), replica(of_1=5))
    assert [entry.index.oid for entry in judgement.unread] == [2]
    (finding,) = unused_report(judgement, {}).findings
    assert (
        "no scan in 60 days (since 2026-11-16 08:00 UTC), here or on 1 replica" in finding.sentence
    )


DB2, AWAY = ReplicationClient("db2", "db2_slot"), ReplicationClient(None, "db3_slot")
NAMELESS = ReplicationClient(None, None)


def test_a_replication_client_is_known_by_its_application_or_its_slot() -> None:
    assert DB2.is_among(["db2"])
    assert DB2.is_among(["db2_slot"])
    assert not AWAY.is_among(["db2"])
    assert not NAMELESS.is_among([])


@pytest.mark.parametrize(
    ("changes", "replicas", "words"),
    [
        ({"window_days": None}, (), "does not say since when it counts"),
        ({"window_days": 29.9}, (), "must cover 30 days"),
        ({"is_standby": True}, (), "standby"),
        ({"window_days": 30.0}, (), ""),
        (
            {"replication_clients": (DB2, AWAY)},
            (),
            "2 replication clients (db2, db3_slot), none of",
        ),
        ({"replication_clients": (DB2, AWAY)}, (replica(),), "(db2, db3_slot), 1 of them asked"),
        ({"replication_clients": (DB2, AWAY)}, (replica(), replica()), ""),
        ({"replication_clients": (NAMELESS,)}, (), "(one whose name this role may not see)"),
        ({}, (replica(problem="timeout"),), "replica db2:5432/site could not be asked: timeout"),
        ({}, (replica(), replica(29)), "counters of the replica db2:5432/site cover 29 days"),
        ({}, (replica(None),), "replica db2:5432/site does not say since when"),
    ],
)
def test_the_verdict_is_withheld_for_a_stated_reason(
    changes: dict[str, Any], replicas: tuple[ReplicaScans, ...], words: str
) -> None:
    withheld = withheld_because(measurement(**changes), replicas, RULES)
    assert words in withheld
    assert bool(withheld) is bool(words)


def test_a_withheld_verdict_says_how_to_get_one() -> None:
    judgement = judged(measurement(index(), replication_clients=(DB2, AWAY)), replica())
    (finding,) = unused_report(judgement, {}).findings
    assert finding.severity is Severity.INFO
    assert '"replicas"' in finding.advice
    assert '"unqueried_replication"' in finding.advice


RARE = {"scans": 3, "table_pages": 100, "writes": 3001}


def rare(*indexes: IndexState, keys: tuple[ForeignKey, ...] = ()) -> list[int]:
    return [entry.index.oid for entry in rarely_read_indexes(indexes, keys, 10.0)]


def test_an_index_with_more_writes_than_pages_saved_costs_more_than_it_brings() -> None:
    assert rare(index(**RARE)) == [1]
    assert rare(index(**{**RARE, "writes": 3000})) == []
    assert rare(index(**{**RARE, "scans": 0})) == []


def test_a_rarely_read_index_with_a_duty_is_not_named() -> None:
    assert rare(index(**RARE, is_unique=True)) == []
    assert rare(index(**RARE), keys=(foreign_key(1),)) == []
    assert rare(index(**RARE), index(2, **RARE), keys=(foreign_key(1),)) == [2]
    # The unread one may go as well, so that the rarely read one must stay.
    unread = index(2, key_count=2, columns=(1, 2))
    assert rare(index(**RARE), unread, keys=(foreign_key(1),)) == []


def test_what_another_index_may_be_dropped_in_favour_of_is_not_named() -> None:
    wide = index(2, **RARE, key_count=2, columns=(1, 2), operator_classes=(1978, 1978))
    both = {"collations": (0, 0), "sort_options": (0, 0)}
    used = index(scans=9000)
    assert judged(measurement(used, replace(wide, **both))).rarely_read == ()
    other = index(scans=9000, columns=(2,))
    assert len(judged(measurement(other, replace(wide, **both))).rarely_read) == 1


@given(some_indexes, some_keys)
def test_whoever_drops_the_unused_and_the_rarely_read_keeps_foreign_keys_supported(
    indexes: tuple[IndexState, ...], keys: tuple[ForeignKey, ...]
) -> None:
    unused = {e.index.oid for e in unread_indexes(indexes, keys) if not e.kept_because}
    gone = unused | set(rare(*(replace(i, table_pages=0) for i in indexes), keys=keys))
    left = [i for i in indexes if i.oid not in gone]
    for key in keys:
        for supports in (supports_fully, supports_partly):
            before = any(i.table_oid == key.table_oid and supports(i, key) for i in indexes)
            after = any(i.table_oid == key.table_oid and supports(i, key) for i in left)
            assert after or not before


def test_rarely_read_indexes_are_named_once_the_window_is_long_and_their_age_known() -> None:
    assert judged(measurement(index(**RARE), window_days=3)).rarely_read == ()
    assert judged(measurement(index(**RARE)), known_days=3).rarely_read == ()
    report = unused_report(judged(measurement(index(**RARE))), {})
    (finding,) = report.findings
    assert (finding.code, finding.severity) == ("rarely-used-index", Severity.INFO)
    assert "3 scans in 60 days" in finding.sentence
    assert "saved the reading of 300 pages at most, and 3,001 writes had" in finding.sentence
    assert "1 is read too rarely" in report.summary


def test_a_duty_of_one_partition_keeps_the_partitioned_index() -> None:
    parent = index(1, is_partitioned=True)
    clustered = index(2, parent_oid=1, is_clustered=True)
    assert "of public.t.i2: its table is clustered on it" in reason(parent, clustered)


class TestKnownAge:
    """What proves that an index is older than the time it was first looked at."""

    def test_nothing_proves_more_than_that_it_exists_now(self) -> None:
        assert KnownAge(NOW).seconds(index()) == 0

    def test_a_commit_timestamp_does(self) -> None:
        assert KnownAge(NOW).seconds(index(committed_at=NOW - 5)) == 5

    def test_an_earlier_run_does(self) -> None:
        state = KnownAge(NOW - DAY).state_of([index()])
        assert KnownAge(NOW, (), state).seconds(index()) == DAY
        assert KnownAge(NOW, (), state).seconds(index(2)) == 0

    def test_a_vacuum_that_found_its_transaction_ended_does(self) -> None:
        horizons = [Horizon(400, NOW - 40), Horizon(100, NOW - 10), Horizon(200, NOW - 70)]
        known = KnownAge(NOW, horizons)
        ages = {age: known.seconds(index(xid_age=age)) for age in (50, 100, 101, 201, 401)}
        assert ages == {50: 0, 100: 0, 101: 10, 201: 70, 401: 70}

    def test_new_partitions_do_not_make_a_partitioned_index_younger(self) -> None:
        parent = index(1, is_partitioned=True, committed_at=NOW - 90)
        old, new = index(2, committed_at=NOW - 80), index(3, committed_at=NOW - 1)
        assert KnownAge(NOW).seconds(parent, (parent, old, new)) == 80


def test_options_replace_thresholds_and_zero_is_a_value() -> None:
    thresholds = Thresholds(unused_index_minimum_bytes=5)
    assert UnusedIndexRules.of(UnusedIndexOptions(), thresholds).minimum_bytes == 5
    assert UnusedIndexRules.of(UnusedIndexOptions(minimum_bytes=0), thresholds).minimum_bytes == 0


def cause(subject: IndexState, *others: IndexState, may_rebuild: bool = True) -> Cause:
    return cause_of(subject, Twins((subject, *others)), may_rebuild=may_rebuild)


BROKEN = index(9, is_valid=False)


def test_a_leftover_is_known_by_structure_and_not_by_name() -> None:
    valid = index(1)
    assert "left over from rebuilding public.t.i1" in cause(BROKEN, valid).sentence
    for other in (replace(valid, columns=(2,)), replace(valid, table_oid=5), BROKEN):
        assert "left over" not in cause(BROKEN, other).sentence


def test_a_leftover_is_dropped_and_never_rebuilt() -> None:
    for state in ({}, {"is_ready": False}, {"is_live": False}, {"scans": 5}, {"is_unique": True}):
        found = cause(replace(BROKEN, **state), index(1))
        assert (found.drop, found.rebuild) == (True, False)


def test_an_invalid_index_of_a_toast_table_can_only_be_a_leftover() -> None:
    found = cause(replace(BROKEN, is_toast=True))
    assert "left over" in found.sentence
    assert found.drop


@pytest.mark.parametrize(
    ("state", "words", "drop"),
    [
        ({"is_ready": False}, "CREATE INDEX CONCURRENTLY failed before it was built", True),
        ({"is_live": False, "is_ready": False}, "was interrupted near its end", True),
        ({"scans": 5}, "It was in use before", True),
        ({}, "failed, or a DROP INDEX CONCURRENTLY was interrupted", True),
        ({"has_constraint": True}, "stands behind a constraint", False),
        ({"is_partitioned": True}, "Not every partition", False),
    ],
)
def test_the_catalog_tells_how_an_index_became_invalid(
    state: dict[str, Any], words: str, drop: bool
) -> None:
    found = cause(replace(BROKEN, **state))
    assert words in found.sentence
    assert found.drop is drop


def test_what_stands_behind_a_constraint_is_rebuilt_where_the_server_does_it_safely() -> None:
    needed = replace(BROKEN, has_constraint=True)
    assert cause(needed).rebuild
    unsafe = cause(needed, may_rebuild=False)
    assert not unsafe.rebuild
    assert "Update PostgreSQL first" in unsafe.advice
    assert 140_003 in CORRUPTING_VERSIONS
    assert 140_004 not in CORRUPTING_VERSIONS


def test_a_partitioned_index_waits_for_its_invalid_part() -> None:
    parent = replace(BROKEN, is_partitioned=True)
    part = index(2, parent_oid=9, is_valid=False)
    assert "Its part public.t.i2 is invalid" in cause(parent, part).sentence


def test_an_index_that_is_being_built_is_not_reported_as_invalid() -> None:
    broken = index(1, is_valid=False)
    in_work = index(2, is_valid=False, is_in_work=True)
    assert invalid_indexes((broken, in_work, index(3))) == [broken]


def test_a_family_lists_parents_before_children() -> None:
    top, middle, leaf = index(1), index(2, parent_oid=1), index(3, parent_oid=2)
    assert family_of(top, {1: [middle], 2: [leaf]}) == (top, middle, leaf)


def test_a_long_table_says_how_much_it_leaves_out() -> None:
    table = bounded_table("Indexes", [{"n": n} for n in range(1200)])
    assert len(table.rows) == 500
    assert table.title == "Indexes: the first 500 of 1,200"
