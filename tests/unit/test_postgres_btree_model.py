"""The btree model, and what is left to statistics and baselines, as arithmetic."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import Thresholds
from maintenance.postgres.bloat.btree_model import (
    Entry,
    bloat_ratio,
    fresh_pages,
    fresh_pages_by_density,
    index_tuple_bytes,
    leaves_per_row,
)
from maintenance.postgres.bloat.index_baselines import (
    Baseline,
    fresh_bytes,
    known_baselines,
    next_baseline,
    to_state,
)
from maintenance.postgres.bloat.index_report import IndexBloat, Source, diagnose
from maintenance.postgres.bloat.index_statistics import (
    entries_by_statistics,
    has_statistics,
    rows_by_catalog,
)

entries = st.builds(Entry, st.integers(2, 60).map(lambda eights: eights * 8), st.floats(1, 5000))
samples = st.lists(entries, min_size=1, max_size=40)


def index(**values: object) -> IndexBloat:
    return IndexBloat(
        **{
            "oid": 1,
            "subject": "public.t.i",
            "table": "public.t",
            "method": "btree",
            "size_bytes": 100 * 1024**2,
            "rebuild": "REINDEX INDEX CONCURRENTLY i",
            **values,
        }
    )


def column(**values: object) -> dict[str, object]:
    return {
        "length_bytes": 4,
        "alignment_bytes": 4,
        "is_expression": False,
        "mean_bytes": 4,
        "null_ratio": 0.0,
        "distinct_values": -1.0,
        "common_ratios": None,
        **values,
    }


def test_a_bigint_key_takes_366_rows_a_leaf() -> None:
    # As CREATE INDEX makes it: 367 line pointers on a leaf, one of them of the high key.
    assert 1 / leaves_per_row([Entry(16)] * 50_000) == pytest.approx(366, abs=0.01)
    assert fresh_pages([Entry(16)] * 10, 1_000_000) == 1 + 2733 + 10 + 1


def test_full_posting_lists_take_nine_a_leaf() -> None:
    assert 1 / leaves_per_row([Entry(16, 1e6)]) == pytest.approx(9 * 132)
    assert fresh_pages([Entry(16, 1e6)], 1_000_000, deduplicates=False) == 1 + 2733 + 10 + 1


@given(samples, st.integers(1, 5_000_000))
def test_deduplication_never_makes_an_index_larger(sample: list[Entry], rows: int) -> None:
    with_it = fresh_pages(sample, rows)
    largest = max(entry.tuple_bytes for entry in sample)
    assert 1 <= with_it <= fresh_pages([Entry(largest)], rows, deduplicates=False) * 1.02 + 2


@given(samples, st.integers(1, 1_000_000), st.integers(1, 1_000_000))
def test_more_rows_never_need_fewer_pages(sample: list[Entry], one: int, other: int) -> None:
    few, many = sorted((one, other))
    assert fresh_pages(sample, few) <= fresh_pages(sample, many)


@given(samples, st.integers(10, 100), st.integers(10, 100), st.booleans())
def test_a_lower_fillfactor_never_needs_fewer_pages(
    sample: list[Entry], one: int, other: int, deduplicates: bool
) -> None:
    loose, tight = sorted((one, other))
    fresh = {
        fill: fresh_pages(sample * 200, 1_000_000, fill, deduplicates=deduplicates)
        for fill in (loose, tight)
    }
    # Where every page is filled by chance, a few pages may differ.
    assert fresh[loose] >= fresh[tight] * 0.97


@given(st.integers(2, 60), st.integers(1, 8))
def test_a_sample_of_twice_the_entries_means_the_same(eights: int, times: int) -> None:
    sample = [Entry(eights * 8)] * 400
    assert leaves_per_row(sample * times, deduplicates=False) == pytest.approx(
        leaves_per_row(sample, deduplicates=False), rel=0.02
    )


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_a_ratio_is_between_nothing_and_all(pages: int, fresh: int) -> None:
    assert 0 <= bloat_ratio(pages, fresh) <= 1


def test_an_empty_index_is_one_page_and_its_other_pages_are_bloat() -> None:
    assert fresh_pages([], 0) == 1
    assert bloat_ratio(10, fresh_pages([], 0)) == pytest.approx(0.9)


def test_density_of_a_new_index_is_no_bloat() -> None:
    # What pgstatindex says of 2,733 new leaves of a bigint key.
    assert fresh_pages_by_density(2733, 0.9009) == pytest.approx(2745, rel=0.003)
    assert fresh_pages_by_density(2733, 0.45) == pytest.approx(2745 / 2, rel=0.01)
    assert fresh_pages_by_density(0, 0.0) == 1


def test_a_null_takes_a_bitmap_and_no_value() -> None:
    assert index_tuple_bytes(4, has_null=False) == 16
    assert index_tuple_bytes(0, has_null=True) == 16
    assert index_tuple_bytes(8, has_null=True) == 24


def test_statistics_give_common_values_their_share_of_entries() -> None:
    common = column(distinct_values=100.0, common_ratios=[0.5], null_ratio=0.25)
    made = entries_by_statistics([common], 1_000_000, random.Random(1))

    assert sum(entry.rows_of_key == 500_000 for entry in made) / len(made) == pytest.approx(0.5)
    assert sum(entry.rows_of_key == 250_000 for entry in made) / len(made) == pytest.approx(0.25)


def test_columns_without_statistics_are_told() -> None:
    assert not has_statistics([column(mean_bytes=None)])
    assert not has_statistics([])
    assert has_statistics([column()])


def test_rows_come_from_the_catalog_where_a_crash_has_lost_the_counter() -> None:
    row = {"live_rows": 0.0, "table_rows": 500.0, "partial": False, "entries": 500.0}
    assert rows_by_catalog(row) == 500
    assert rows_by_catalog({**row, "live_rows": 800.0}) == 800
    assert rows_by_catalog({**row, "partial": True, "entries": 50.0, "live_rows": 1000.0}) == 100


def test_the_first_sight_and_a_new_file_make_a_baseline() -> None:
    first = next_baseline(None, 10, 8_000_000, 1000)
    assert first == Baseline(10, 8000.0)
    assert next_baseline(first, 10, 16_000_000, 1000) == first  # grown: that is bloat
    assert next_baseline(first, 11, 16_000_000, 1000) == Baseline(11, 16_000.0)  # rebuilt
    assert next_baseline(first, 10, 8_000_000, 2000) == Baseline(10, 4000.0)  # better
    assert next_baseline(None, 10, 8_000_000, 0) is None
    assert next_baseline(first, 10, 8_000_000, 0) == first


@given(st.dictionaries(st.integers(1, 2**32), st.integers(0, 2**32), max_size=5))
def test_baselines_survive_the_state_of_a_report(nodes: dict[int, int]) -> None:
    baselines = {oid: Baseline(node, 12.5) for oid, node in nodes.items()}
    assert known_baselines(to_state(baselines)) == baselines
    assert known_baselines({}) == {}


@given(st.integers(0, 2**40), st.floats(0.1, 1e5), st.floats(0, 1e9))
def test_a_baseline_never_asks_for_more_than_there_is(
    size_bytes: int, bytes_per_row: float, rows: float
) -> None:
    assert 0 <= fresh_bytes(Baseline(1, bytes_per_row), size_bytes, rows) <= size_bytes


def test_findings_say_the_interval_and_what_it_rests_on() -> None:
    measured = index(
        ratio=0.5,
        low_ratio=0.45,
        high_ratio=0.55,
        fresh_bytes=50 * 1024**2,
        sampled_pages=200,
    )
    by_baseline = index(
        subject="public.t.gin",
        ratio=0.7,
        low_ratio=0.65,
        high_ratio=0.75,
        fresh_bytes=30 * 1024**2,
        source=Source.BASELINE,
    )
    withheld = index(subject="public.t.w", missing="ANALYZE public.t")
    report = diagnose([measured, by_baseline, withheld], 7, Thresholds())

    sentences = {finding.subject: finding.sentence for finding in report.findings}
    assert "between 45 % and 55 % with 95 % confidence, from 200 pages" in sentences["public.t.i"]
    assert "by its smallest size a row so far" in sentences["public.t.gin"]
    assert sentences["public.t.w"] == "unavailable: its bloat needs ANALYZE public.t"
    assert report.facts["indexes_too_small"] == 7
    assert {"low_ratio", "high_ratio", "sampled_pages"} <= set(report.tables[0].columns)
