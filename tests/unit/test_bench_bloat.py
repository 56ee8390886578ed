"""The bench of bloat estimates: its arithmetic, the peers' words, and the tables drawn from a seed."""

import json

import pytest
import sqlglot

from bench.bloat_accuracy import Estimate, Relation, estimates, peers_in_words, relations_of
from bench.bloat_peers import parse_check_pgactivity, parse_check_postgres, parse_pgextras
from bench.bloat_shapes import FIXED, Shape, seeded
from maintenance.core.reports import Report, Table

ALL_SHAPES = (*FIXED, *seeded("a commit", 40))


def relation(truth_ratio: float, *ours: Estimate, **peers: float) -> Relation:
    return Relation("table", "orders", 1_000_000, list(ours), dict(peers), truth_ratio)


def test_an_error_is_the_distance_from_the_truth_in_percentage_points() -> None:
    measured = relation(0.5, Estimate(0.45), Estimate(0.52))
    assert measured.errors_points == pytest.approx([5.0, 2.0])


def test_an_interval_that_ends_at_the_truth_holds_it_and_an_absent_one_does_not_count() -> None:
    measured = relation(0.5, Estimate(0.4, 0.3, 0.5), Estimate(0.4, 0.3, 0.49), Estimate(0.5))
    assert measured.covered == [True, False]


def test_peers_are_named_with_their_mean_and_largest_error_or_how_they_are_installed() -> None:
    measured = [
        relation(0.5, check_postgres=0.4, pgextras=0.5),
        relation(0.0, check_postgres=0.3, pgextras=0.0),
    ]
    absent = {"check_pgactivity": "apt-get install check-pgactivity"}

    said = peers_in_words(measured, "mean", absent)
    assert "check_postgres 20.0" in said
    assert "pgextras 0.0" in said
    assert "check_pgactivity not installed: apt-get install check-pgactivity" in said
    assert "pgstattuple" not in said  # it was neither asked nor absent
    assert "check_postgres 30.0" in peers_in_words(measured, "largest", absent)


def test_relations_are_tables_btrees_and_toast_tables_of_some_size() -> None:
    sizes = [("orders", "r", 9_000_000, 2_000_000), ("orders_id", "i", 8192, None)]

    found = [(r.kind, r.name, r.size_bytes) for r in relations_of(sizes)]
    assert found == [
        ("table", "orders", 9_000_000),
        ("table", "TOAST table of orders", 2_000_000),
    ]
    assert len(relations_of(sizes, 0)) == 3


def test_estimates_are_read_from_the_report_of_an_operator() -> None:
    rows = [{"table": "public.orders", "bloat_ratio": 0.4, "low_ratio": 0.3, "high_ratio": 0.5}]
    report = Report(title="", summary="", tables=(Table.of("Tables", rows),))

    assert estimates(report, "table") == {"orders": Estimate(0.4, 0.3, 0.5)}
    assert estimates(report, "index") == {}


def test_check_postgres_prints_bytes_behind_the_bar() -> None:
    text = (
        'POSTGRES_BLOAT CRITICAL: DB "b" table public.t2 rows:30000 wasted size:2310144 (2 MB) |'
        " 'public.Odd t'=2605056B public.t2=2310144B t2m=2088960B pg_catalog.pg_class=16384B \n"
    )
    assert parse_check_postgres(text) == {
        "Odd t": 2605056,
        "t2": 2310144,
        "t2m": 2088960,
        "pg_catalog.pg_class": 16384,
    }


def test_check_pgactivity_prints_sizes_with_units() -> None:
    text = (
        "Service        : POSTGRES_TABLE_BLOAT\n"
        "Long message   : b1.pg_catalog.pg_description 16kB/320kB (5.00%);\n"
        "Long message   : b1.public.Odd t 2.5MB/3.528MB (70.67%);\n"
        "Long message   : b1.public.t2m 8kB/3.408MB (0.23%);\n"
    )
    assert parse_check_pgactivity(text) == {"Odd t": 2.5 * 1024**2, "t2m": 8192}


def test_pgextras_gives_names_and_pretty_sizes() -> None:
    text = json.dumps([["orders", "2544 kB"], ["orders::orders_id", "0 bytes"]])
    assert parse_pgextras(text) == {"orders": 2544 * 1024, "orders_id": 0}


def test_there_are_tables_and_btrees_enough() -> None:
    assert len(FIXED) >= 15
    assert sum(len(shape.indexes) for shape in FIXED) >= 17


def test_a_seed_draws_the_same_tables_again_and_another_seed_others() -> None:
    assert seeded("a", 10) == seeded("a", 10)
    assert seeded("a", 10) != seeded("b", 10)
    assert seeded("a", 20)[:10] == seeded("a", 10)


@pytest.mark.parametrize("shape", ALL_SHAPES, ids=lambda shape: shape.name)
def test_every_statement_of_a_shape_is_one_valid_statement(shape: Shape) -> None:
    statements = list(shape.statements())

    assert statements[0].startswith(f"CREATE TABLE {shape.name} (")
    for statement in statements:
        assert shape.name in statement
        if not statement.startswith("VACUUM"):  # which the parser does not know
            assert len(sqlglot.parse(statement, read="postgres")) == 1
