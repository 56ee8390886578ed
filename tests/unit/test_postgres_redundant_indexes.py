"""Which of two indexes may go: every difference that matters, without a server."""

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.findings import Severity
from maintenance.postgres.indexes.catalog import Definition, IndexState
from maintenance.postgres.indexes.guards import unread_indexes
from maintenance.postgres.indexes.redundant import (
    RedundantIndex,
    binding_duty_of,
    redundant_indexes,
    redundant_report,
)
from maintenance.postgres.indexes.structure import covers, split_trees
from tests.unit.test_postgres_indexes import (
    COLUMN_1_NOT_NULL,
    COLUMN_2_ABOVE_5,
    LOWER_OF_1,
    index,
    measurement,
)


def on(oid: int, *columns: int, included: tuple[int, ...] = (), **changes: Any) -> IndexState:
    """An index on these key columns, read once, so that no index goes as unused."""
    count = len(columns)
    given: dict[str, Any] = {
        "scans": 1,
        "key_count": count,
        "columns": (*columns, *included),
        "operator_classes": (1978,) * count,
        "collations": (0,) * count,
        "sort_options": (0,) * count,
    }
    return index(oid, **{**given, **changes})


def judged(*indexes: IndexState) -> tuple[RedundantIndex, ...]:
    return redundant_indexes(measurement(*indexes))


def dropped(*indexes: IndexState) -> dict[int, int]:
    """Return which index is to go because of which other one."""
    return {e.index.oid: e.cover.oid for e in judged(*indexes) if not e.kept_because}


def test_of_two_equal_indexes_the_newer_goes() -> None:
    assert dropped(on(1, 5), on(2, 5)) == {2: 1}
    (entry,) = judged(on(1, 5), on(2, 5))
    assert entry.is_duplicate
    assert entry.chosen_because == "nothing tells the two apart, and it was made or rebuilt last"


def test_of_two_equal_indexes_the_one_that_queries_use_stays() -> None:
    (entry,) = judged(on(1, 5, scans=0), on(2, 5, scans=9))
    assert (entry.index.oid, entry.cover.oid) == (1, 2)
    assert entry.chosen_because == "queries use the other one"


def test_of_two_equal_indexes_the_one_that_a_model_declares_stays() -> None:
    (entry,) = redundant_indexes(measurement(on(1, 5), on(2, 5)), {2})
    assert (entry.index.oid, entry.chosen_because) == (1, "a Django model declares the other one")


def test_an_index_on_the_first_columns_of_another_is_redundant() -> None:
    (entry,) = judged(on(1, 5), on(2, 5, 6))
    assert (entry.index.oid, entry.cover.oid, entry.is_duplicate) == (1, 2, False)


def test_column_2_is_not_the_beginning_of_columns_23_and_5() -> None:
    assert dropped(on(1, 2), on(2, 23, 5)) == {}
    assert dropped(on(1, 2), on(2, 2, 3, 5)) == {1: 2}


def test_an_index_on_other_than_the_first_columns_is_not_redundant() -> None:
    assert dropped(on(1, 6), on(2, 5, 6)) == {}
    assert dropped(on(1, 6, 5), on(2, 5, 6)) == {}


DIFFERENCES = {
    "table": {"table_oid": 7},
    "access method": {"access_method": "hash"},
    "operator class": {"operator_classes": (9999,)},
    "collation": {"collations": (950,)},
    "descending": {"sort_options": (1,)},
    "nulls first": {"sort_options": (2,)},
    "predicate": {"predicate": COLUMN_2_ABOVE_5},
    "expression": {"columns": (0,), "expressions": LOWER_OF_1},
    "invalid": {"is_valid": False},
    "not ready": {"is_ready": False},
    "being dropped": {"is_live": False},
}


@pytest.mark.parametrize("difference", DIFFERENCES)
def test_an_index_that_differs_covers_nothing(difference: str) -> None:
    one, other = on(1, 5), replace(on(2, 5), **DIFFERENCES[difference])
    assert not covers(one, other)
    assert not covers(other, one)
    assert judged(one, other) == ()


def test_the_same_expression_and_the_same_predicate_are_equal() -> None:
    same = {"columns": (0,), "expressions": LOWER_OF_1, "predicate": COLUMN_1_NOT_NULL}
    assert dropped(on(1, 0, **same), on(2, 0, **same)) == {2: 1}


def test_expressions_are_compared_at_their_place() -> None:
    upper = LOWER_OF_1.replace("870", "871")
    both = f"({LOWER_OF_1[1:-1]} {upper[1:-1]})"
    assert dropped(on(1, 0, expressions=LOWER_OF_1), on(2, 0, 0, expressions=both)) == {1: 2}
    assert dropped(on(1, 0, expressions=upper), on(2, 0, 0, expressions=both)) == {}


def test_braces_within_a_constant_do_not_end_a_tree() -> None:
    assert split_trees(r"({A :x \{} {B {C}})") == [r"{A :x \{}", "{B {C}}"]
    assert split_trees("") == []


@pytest.mark.parametrize("method", ["hash", "gin", "gist", "brin", "spgist"])
def test_other_access_methods_are_covered_by_their_like_alone(method: str) -> None:
    one = on(1, 5, access_method=method)
    assert dropped(one, on(2, 5, access_method=method)) == {2: 1}
    assert dropped(one, on(2, 5, 6, access_method=method)) == {}
    other_settings = on(2, 5, access_method=method, storage_parameters=("pages_per_range=4",))
    assert dropped(one, other_settings) == {}
    other_options = on(2, 5, access_method=method, operator_class_options="1 {siglen=8}")
    assert dropped(one, other_options) == {}


def test_the_fill_factor_of_a_btree_makes_no_difference() -> None:
    assert dropped(on(1, 5), on(2, 5, storage_parameters=("fillfactor=70",))) == {2: 1}


def test_included_columns_must_be_carried_by_the_other() -> None:
    assert dropped(on(1, 5, included=(7,)), on(2, 5)) == {2: 1}
    assert dropped(on(1, 5, included=(7,)), on(2, 5, 7)) == {1: 2}
    assert dropped(on(1, 5, included=(7,)), on(2, 5, 8)) == {}
    assert dropped(on(1, 5, included=(7,)), on(2, 5, included=(7, 8))) == {1: 2}


def test_a_unique_index_gives_way_only_to_one_that_keeps_the_same_values_unique() -> None:
    assert dropped(on(1, 5, is_unique=True), on(2, 5)) == {2: 1}
    assert dropped(on(1, 5, is_unique=True), on(2, 5, 6)) == {}
    assert dropped(on(1, 5, is_unique=True), on(2, 5, 6, is_unique=True)) == {}
    assert dropped(on(1, 5, is_unique=True), on(2, 5, is_unique=True)) == {2: 1}


def test_nulls_and_deferral_are_part_of_what_unique_promises() -> None:
    strict = on(1, 5, is_unique=True, nulls_not_distinct=True)
    assert dropped(strict, on(2, 5, is_unique=True)) == {2: 1}
    late = on(1, 5, is_unique=True, is_immediate=False, has_constraint=True)
    assert dropped(late, on(2, 5, is_unique=True)) == {}


DUTIES = {
    "primary key": {"is_primary": True, "is_unique": True},
    "foreign keys refer": {"is_referenced": True, "is_unique": True},
    "enforces a constraint": {"has_constraint": True, "is_unique": True},
    "replica identity": {"is_replica_identity": True, "is_unique": True},
    "clustered": {"is_clustered": True},
}


@pytest.mark.parametrize("duty", DUTIES)
def test_an_index_with_a_duty_stays_and_its_duplicate_goes(duty: str) -> None:
    bound = on(2, 5, scans=0, **DUTIES[duty])
    (entry,) = judged(on(1, 5), bound)
    assert (entry.index.oid, entry.kept_because) == (1, "")
    assert entry.chosen_because.startswith("the other one ")


@pytest.mark.parametrize("duty", DUTIES)
def test_an_index_with_a_duty_is_never_dropped_however_well_it_is_covered(duty: str) -> None:
    bound = on(1, 5, **DUTIES[duty])
    better = on(2, 5, is_primary=True, is_unique=True, has_constraint=True)
    assert dropped(bound, better).get(1) is None
    if duty != "primary key":
        assert duty in judged(bound, better)[0].kept_because


def test_an_index_that_may_go_as_unused_covers_none_that_is_read() -> None:
    assert dropped(on(1, 5), on(2, 5, 6, scans=0)) == {}
    assert dropped(on(1, 5, scans=0), on(2, 5, 6, scans=0)) == {1: 2}
    kept = on(2, 5, 6, scans=0, is_unique=True)
    assert dropped(on(1, 5), kept) == {1: 2}


def test_the_cover_that_is_named_is_one_that_stays() -> None:
    assert dropped(on(1, 5), on(2, 5, 6), on(3, 5, 6, 7)) == {1: 3, 2: 3}
    assert dropped(on(1, 5), on(2, 5), on(3, 5, 6)) == {1: 3, 2: 3}


def test_a_partitioned_index_is_named_once_for_its_partitions() -> None:
    narrow = on(1, 5, is_partitioned=True, table_oid=90, size_bytes=0, scans=0, writes=0)
    wide = on(2, 5, 6, is_partitioned=True, table_oid=90, size_bytes=0, scans=0, writes=0)
    parts = (on(11, 5, parent_oid=1), on(12, 5, 6, parent_oid=2))
    (entry,) = judged(narrow, wide, *parts)
    assert (entry.index.oid, entry.cover.oid) == (1, 2)
    assert (entry.size_bytes, entry.writes, entry.scans) == (1024**2, 7, 1)


def test_a_duty_on_one_partition_keeps_the_whole_index() -> None:
    narrow = on(1, 5, is_partitioned=True, table_oid=90)
    wide = on(2, 5, 6, is_partitioned=True, table_oid=90)
    clustered = on(11, 5, parent_oid=1, is_clustered=True)
    (entry,) = judged(narrow, wide, clustered, on(12, 5, 6, parent_oid=2))
    assert "clustered" in entry.kept_because


def test_an_index_beside_a_partitioned_one_gives_way_to_its_part() -> None:
    parent = on(9, 5, is_partitioned=True, table_oid=90)
    assert dropped(parent, on(11, 5, parent_oid=9), on(3, 5)) == {3: 11}


columns = st.lists(st.integers(1, 3), min_size=1, max_size=3, unique=True)
some_indexes = st.lists(
    st.builds(
        lambda keys, scans, unique, constraint, clustered, table: on(
            1,
            *keys,
            scans=scans,
            is_unique=unique,
            has_constraint=unique and constraint,
            is_clustered=clustered,
            table_oid=table,
        ),
        columns,
        st.integers(0, 1),
        st.booleans(),
        st.booleans(),
        st.booleans(),
        st.integers(100, 101),
    ),
    max_size=7,
).map(lambda found: tuple(replace(i, oid=n + 1) for n, i in enumerate(found)))


@given(some_indexes)
def test_whoever_drops_all_that_is_named_here_and_as_unused_keeps_a_cover_for_all_that_is_read(
    indexes: tuple[IndexState, ...],
) -> None:
    gone = dropped(*indexes)
    unused = {e.index.oid for e in unread_indexes(indexes, ()) if not e.kept_because}
    left = [i for i in indexes if i.oid not in gone and i.oid not in unused]
    for entry in (i for i in indexes if i.oid in gone and i.oid not in unused):
        assert not binding_duty_of(entry)
        assert any(covers(other, entry) for other in left)
        assert gone[entry.oid] in {other.oid for other in left}


def test_the_report_says_what_goes_why_and_how() -> None:
    taken = measurement(on(1, 5, is_primary=True, is_unique=True), on(2, 5), on(3, 5, 6), on(4, 6))
    definition = Definition(("DROP INDEX CONCURRENTLY i;",), ("CREATE INDEX CONCURRENTLY i;",))
    found = redundant_indexes(taken)
    report = redundant_report(taken, found, {2: definition})
    assert report.summary == (
        "1 of 4 indexes (1.0 MB) can go: 0 duplicates, 1 that a longer index covers."
    )
    (finding,) = report.findings
    assert (finding.code, finding.severity) == ("redundant-index", Severity.INFO)
    assert "7 writes had to follow both in 60 days" in finding.sentence
    assert (finding.commands, finding.undo) == (definition.drop, definition.create)
    assert finding.evidence["covered_by"] == "public.t.i3"


def test_a_duplicate_is_a_warning_that_names_the_one_to_keep() -> None:
    taken = measurement(on(1, 5, is_primary=True, is_unique=True), on(2, 5))
    (finding,) = redundant_report(taken, redundant_indexes(taken), {}).findings
    assert (finding.code, finding.severity) == ("duplicate-index", Severity.WARNING)
    assert "does the same as public.t.i1" in finding.sentence
    assert "because the other one is the primary key" in finding.advice


def test_without_counters_no_writes_are_claimed() -> None:
    taken = measurement(on(1, 5), on(2, 5), counts=False)
    (finding,) = redundant_report(taken, redundant_indexes(taken), {}).findings
    assert "each write to the table has to follow both" in finding.sentence
    assert finding.evidence["writes"] is None
