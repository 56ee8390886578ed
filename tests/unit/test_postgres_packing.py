"""The packing model of tables and the btree model, as arithmetic."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.postgres.bloat.btree_model import (
    KeyGroup,
    KeyStatistics,
    bloat_ratio,
    fresh_pages,
)
from maintenance.postgres.bloat.packing import PageSample, packed_size, rows_per_page

page_samples = st.builds(
    lambda rows, size: PageSample(rows, rows * size),
    st.integers(min_value=0, max_value=200),
    st.integers(min_value=3, max_value=200).map(lambda eights: eights * 8),
)


def key_statistics(rows: float, keys: float, *, deduplicates: bool = True) -> KeyStatistics:
    return KeyStatistics((KeyGroup(keys, rows),), 8.0, 0.0, 0.9, deduplicates)


@given(st.lists(page_samples, min_size=1, max_size=50), st.integers(50, 10_000))
def test_ratios_stay_between_zero_and_one_and_in_order(
    samples: list[PageSample], pages: int
) -> None:
    estimate = packed_size(samples, pages)

    assert 0 <= estimate.low_ratio <= estimate.bloat_ratio <= estimate.high_ratio <= 1
    assert 0 <= estimate.needed_pages <= pages
    assert estimate.bloat_bytes <= pages * 8192


@given(st.lists(page_samples, min_size=1, max_size=50))
def test_a_sample_of_every_page_leaves_no_doubt(samples: list[PageSample]) -> None:
    assert packed_size(samples, len(samples)).uncertainty_ratio == pytest.approx(0, abs=1e-9)


@given(st.floats(24, 2000), st.floats(24, 2000), st.floats(0.1, 1.0))
def test_larger_rows_never_fit_more_often(one: float, other: float, fill_ratio: float) -> None:
    small, large = sorted((one, other))
    assert rows_per_page(small, fill_ratio) >= rows_per_page(large, fill_ratio) >= 1


def test_full_pages_are_no_bloat_and_empty_pages_are_all_bloat() -> None:
    full = PageSample(rows_per_page(40, 1.0), rows_per_page(40, 1.0) * 40)

    assert packed_size([full] * 20, 1000).bloat_ratio == 0
    assert packed_size([PageSample(0, 0)] * 20, 1000).bloat_ratio == 1
    assert packed_size([full, PageSample(0, 0)] * 10, 1000).bloat_ratio == pytest.approx(0.5)


def test_a_low_fillfactor_is_not_called_bloat() -> None:
    half = PageSample(rows_per_page(40, 0.5), rows_per_page(40, 0.5) * 40)
    assert packed_size([half] * 20, 1000, fill_ratio=0.5).bloat_ratio == 0


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        packed_size([], 10)


@given(st.integers(1, 5_000_000), st.floats(0.0001, 1.0))
def test_deduplication_never_makes_an_index_larger(rows: int, share: float) -> None:
    keys = max(1.0, rows * share)
    with_it = fresh_pages(key_statistics(rows, keys))
    without = fresh_pages(key_statistics(rows, keys, deduplicates=False))
    assert 1 <= with_it <= math.ceil(without * 1.01) + 1


@given(st.integers(1, 1_000_000), st.integers(1, 1_000_000))
def test_more_rows_never_need_fewer_pages(one: int, other: int) -> None:
    few, many = sorted((one, other))
    assert fresh_pages(key_statistics(few, few)) <= fresh_pages(key_statistics(many, many))


def test_an_empty_index_is_one_page_and_its_other_pages_are_bloat() -> None:
    empty = key_statistics(0, 0)
    assert fresh_pages(empty) == 1
    assert bloat_ratio(10, empty) == pytest.approx(0.9)
