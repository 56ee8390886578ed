"""Missing indexes without a server: foreign keys, their partitions, and sequential reading."""

from dataclasses import replace
from typing import Any

import pytest

from maintenance.conf import Thresholds
from maintenance.core.findings import Severity
from maintenance.postgres.counters import CounterWindow
from maintenance.postgres.indexes.catalog import Definition, ForeignKey, IndexMeasurement
from maintenance.postgres.indexes.creation import free_name
from maintenance.postgres.indexes.foreign_keys import (
    UnsupportedKey,
    by_weight,
    foreign_key_finding,
    unsupported_keys,
)
from maintenance.postgres.indexes.missing import missing_report
from maintenance.postgres.indexes.sequential import (
    SequentialRules,
    read_sequentially,
    sequential_finding,
)
from maintenance.postgres.indexes.table_reads import TableReads, Tables
from tests.postgres_clients import ODD_NAME
from tests.unit.test_postgres_indexes import (
    COLUMN_1_NOT_NULL,
    COLUMN_2_ABOVE_5,
    DAY,
    foreign_key,
    index,
    measurement,
)

MB = 1024**2
RULES = SequentialRules.of(Thresholds())


def table(oid: int = 100, name: str = "t", **changes: Any) -> TableReads:
    measured = TableReads(
        oid=oid,
        parent_oid=None,
        schema="public",
        name=name,
        qualified_name=f"public.{name}",
        is_partitioned=False,
        size_bytes=64 * MB,
        live_rows=1000,
        sequential_scans=0,
        rows_read_sequentially=0,
        index_scans=0,
        rows_read_by_index=0,
        updated_rows=0,
        deleted_rows=0,
    )
    return replace(measured, **changes)


REFERENCED = table(200, "p", deleted_rows=3)


def unsupported(
    taken: IndexMeasurement, *tables: TableReads, minimum_bytes: int = MB
) -> tuple[UnsupportedKey, ...]:
    return unsupported_keys(taken, Tables((*tables, REFERENCED)), minimum_bytes)


def test_a_foreign_key_without_an_index_is_named_with_its_cost() -> None:
    (missing,) = unsupported(measurement(foreign_keys=(foreign_key(1),)), table())
    definition = Definition(("DROP INDEX CONCURRENTLY i;",), ("CREATE INDEX CONCURRENTLY i;",))
    finding = foreign_key_finding(missing, measurement().window, definition)
    assert finding.subject == "public.t.c1"
    assert finding.severity is Severity.WARNING
    assert "each deleted row of public.p makes the server read 64 MB" in finding.sentence
    assert "3 rows were deleted there in 60 days" in finding.sentence
    assert (finding.commands, finding.undo) == (definition.create, definition.drop)


def test_it_is_a_note_where_no_row_was_deleted() -> None:
    (missing,) = unsupported(measurement(foreign_keys=(foreign_key(1),)), table())
    idle = replace(missing, referenced=replace(REFERENCED, deleted_rows=0))
    finding = foreign_key_finding(idle, measurement().window, None)
    assert finding.severity is Severity.INFO
    assert "none was deleted there" in finding.sentence


@pytest.mark.parametrize(
    ("changes", "is_missing"),
    [
        ({}, False),
        ({"predicate": COLUMN_1_NOT_NULL}, False),
        ({"predicate": COLUMN_2_ABOVE_5}, True),
        ({"is_valid": False}, True),
        ({"columns": (2, 1), "key_count": 2}, True),
        ({"columns": (1, 2), "key_count": 2}, False),
        ({"columns": (23, 5), "key_count": 2}, True),
        ({"access_method": "gin"}, True),
    ],
)
def test_only_an_index_that_a_lookup_can_use_counts(
    changes: dict[str, Any], is_missing: bool
) -> None:
    taken = measurement(index(**changes), foreign_keys=(foreign_key(1),))
    assert bool(unsupported(taken, table())) is is_missing


def test_an_index_on_column_23_does_not_support_column_2() -> None:
    taken = measurement(index(columns=(23,)), foreign_keys=(foreign_key(2),))
    assert unsupported(taken, table())


def test_columns_of_a_composite_key_may_stand_in_any_order_but_all_must_lead() -> None:
    key = foreign_key(1, 3)
    either = index(columns=(3, 1, 2), key_count=3)
    assert not unsupported(measurement(either, foreign_keys=(key,)), table())
    (missing,) = unsupported(measurement(index(), foreign_keys=(key,)), table())
    assert missing.subject == "public.t.(c1, c3)"


def test_a_small_table_is_not_worth_an_index() -> None:
    taken = measurement(foreign_keys=(foreign_key(1),))
    assert not unsupported(taken, table(size_bytes=MB - 1))
    assert unsupported(taken, table(size_bytes=MB))


def partitioned_key(*partitions: int) -> tuple[ForeignKey, ...]:
    parent = replace(foreign_key(1), oid=50)
    children = (
        replace(parent, oid=50 + n, parent_oid=50, table_oid=oid)
        for n, oid in enumerate(partitions, start=1)
    )
    return (parent, *children)


def test_a_partitioned_table_is_named_once_with_the_partitions_that_lack_an_index() -> None:
    tables = (
        table(is_partitioned=True, size_bytes=0),
        table(101, "low", parent_oid=100),
        table(102, "high", parent_oid=100),
    )
    taken = measurement(index(table_oid=101), foreign_keys=partitioned_key(101, 102))
    (missing,) = unsupported(taken, *tables)
    assert [t.name for t in missing.bare] == ["high"]
    sentence = foreign_key_finding(missing, taken.window, None).sentence
    assert "no index of 1 of 2 partitions of public.t begins with it" in sentence


def test_partitions_of_the_referenced_table_do_not_count_twice() -> None:
    parent = replace(foreign_key(1), oid=50)
    to_partition = replace(parent, oid=51, parent_oid=50, referenced_oid=201)
    taken = measurement(foreign_keys=(parent, to_partition))
    (missing,) = unsupported(taken, table())
    assert len(missing.bare) == 1


def test_what_deletes_cost_most_comes_first() -> None:
    tables = (table(), table(101, "large", size_bytes=900 * MB), table(102, "q", deleted_rows=99))
    keys = (
        replace(foreign_key(1), oid=1),
        replace(foreign_key(1, table_oid=101), oid=2),
        replace(foreign_key(2), oid=3, referenced_oid=102),
    )
    found = by_weight(unsupported(measurement(foreign_keys=keys), *tables))
    assert [m.key.oid for m in found] == [3, 2, 1]


HEAVY = table(
    sequential_scans=24 * 60,
    rows_read_sequentially=24 * 60 * 1000,
    index_scans=5,
    rows_read_by_index=5,
)


def test_a_large_table_that_is_read_from_end_to_end_is_named() -> None:
    window = measurement().window
    assert read_sequentially([HEAVY], window, RULES) == [HEAVY]
    finding = sequential_finding(HEAVY, window)
    assert "1,440 times in 60 days" in finding.sentence
    assert "1,440,000 rows, 100 % of all that were read" in finding.sentence


@pytest.mark.parametrize(
    "changes",
    [
        {"size_bytes": RULES.minimum_bytes - 1},
        {"sequential_scans": 24 * 60 - 1},
        {"rows_read_sequentially": 24 * 60 * 499},
        {"rows_read_by_index": 24 * 60 * 1000},
    ],
    ids=["small", "rare", "ended early", "read by indexes as well"],
)
def test_other_tables_are_not(changes: dict[str, Any]) -> None:
    window = measurement().window
    assert read_sequentially([replace(HEAVY, **changes)], window, RULES) == []


@pytest.mark.parametrize("started_at", [None, 1_800_000_000.0 - DAY / 2])
def test_a_window_of_less_than_a_day_supports_no_daily_rate(started_at: float | None) -> None:
    window = CounterWindow(started_at=started_at, measured_at=1_800_000_000.0)
    assert read_sequentially([HEAVY], window, RULES) == []


def test_a_partitioned_table_has_the_sums_of_its_partitions() -> None:
    parent = table(is_partitioned=True, size_bytes=0, live_rows=0)
    tables = Tables((parent, table(101, "low", parent_oid=100), table(102, "high", parent_oid=101)))
    (whole,) = tables.tops
    assert (whole.name, whole.size_bytes, whole.live_rows) == ("t", 128 * MB, 2000)


def test_a_new_name_is_free_and_fits() -> None:
    assert free_name("public", "t", ["a", "b"], ()) == "t_a_b_idx"
    assert free_name("public", "t", ["a"], {("public", "t_a_idx")}) == "t_a_idx1"
    assert free_name("public", "t", ["a"], {("other", "t_a_idx")}) == "t_a_idx"
    long = free_name("public", ODD_NAME, [ODD_NAME], ())
    assert len(long.encode()) == 63
    assert long.endswith("_idx")


def test_the_summary_counts_both_kinds() -> None:
    taken = measurement(foreign_keys=(foreign_key(1),))
    report = missing_report(taken, unsupported(taken, table()), {}, [HEAVY])
    assert report.summary == (
        "1 of 1 foreign key lacks an index; 1 large table is mostly read from end to end."
    )
    assert missing_report(measurement(), (), {}, ()).summary.startswith("None of 0 foreign keys")
