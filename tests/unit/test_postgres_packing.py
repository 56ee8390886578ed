"""The packing model of tables and its interval, as arithmetic."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.postgres.bloat.interval import mean_limits, t_quantile
from maintenance.postgres.bloat.packing import (
    PageSample,
    counted_size,
    fill_of,
    gaps_matter,
    pack,
    packed_size,
    page_room_bytes,
    rows_per_page,
)
from maintenance.postgres.bloat.page_sample import random_blocks
from maintenance.postgres.bloat.tables import largest_sample_pages

tuple_sizes = st.integers(min_value=3, max_value=250).map(lambda eights: eights * 8)
page_samples = st.lists(tuple_sizes, max_size=8).map(lambda sizes: PageSample(tuple(sizes)))


def page_of(rows: int, tuple_bytes: int) -> PageSample:
    return PageSample((tuple_bytes,) * rows)


def full_page(tuple_bytes: int = 40, fill_percent: int = 100) -> PageSample:
    return page_of(rows_per_page(tuple_bytes, fill_percent), tuple_bytes)


@given(
    st.lists(page_samples, min_size=1, max_size=50),
    st.integers(50, 10_000),
    st.integers(10, 100),
)
def test_ratios_stay_between_zero_and_one_and_in_order(
    samples: list[PageSample], pages: int, fill_percent: int
) -> None:
    estimate = packed_size(samples, pages, fill_percent)

    assert 0 <= estimate.low_ratio <= estimate.bloat_ratio <= estimate.high_ratio <= 1
    assert 0 <= estimate.needed_pages <= pages
    assert estimate.bloat_bytes <= pages * 8192


@given(st.lists(page_samples, min_size=1, max_size=50))
def test_a_sample_of_every_page_leaves_no_doubt(samples: list[PageSample]) -> None:
    assert packed_size(samples, len(samples)).uncertainty_ratio == 0


@given(st.lists(page_samples, min_size=4, max_size=30), st.integers(2, 5))
def test_the_same_pages_again_make_the_interval_narrower(
    samples: list[PageSample], times: int
) -> None:
    once = packed_size(samples, 1_000_000)
    often = packed_size(samples * times, 1_000_000)

    # Packed as one, a repeated sample may differ by a part of one fresh page a repetition.
    assert often.bloat_ratio == pytest.approx(once.bloat_ratio, abs=2 / len(samples))
    assert often.uncertainty_ratio <= once.uncertainty_ratio + 2 / len(samples)


@given(st.lists(page_samples, min_size=1, max_size=50))
def test_packing_leaves_no_room_unused_and_overfills_none(samples: list[PageSample]) -> None:
    packed = pack(samples)
    needed_bytes = sum(sample.used_bytes for sample in samples)

    # No page is more than full, and any two in a row hold more than one page's worth.
    assert needed_bytes / page_room_bytes(100) <= packed + 1
    assert packed <= 2 * needed_bytes / page_room_bytes(100) + 2


@given(st.floats(24, 2000), st.floats(24, 2000), st.integers(10, 100))
def test_larger_rows_never_fit_more_often(one: float, other: float, fill_percent: int) -> None:
    small, large = sorted((one, other))
    assert rows_per_page(small, fill_percent) >= rows_per_page(large, fill_percent) >= 1


def test_full_pages_are_no_bloat_and_empty_pages_are_all_bloat() -> None:
    full, empty = full_page(), PageSample()

    assert packed_size([full] * 20, 1000).bloat_ratio == 0
    assert packed_size([empty] * 20, 1000).bloat_ratio == 1
    assert packed_size([full, empty] * 10, 1000).bloat_ratio == pytest.approx(0.5)


def test_long_rows_do_not_share_the_gaps_they_leave() -> None:
    # Three rows of 2,400 bytes fill a page to 88 %: a rewrite cannot do better.
    assert packed_size([page_of(3, 2400)] * 50, 1000).bloat_ratio == 0
    assert packed_size([page_of(1, 2400)] * 51, 1000).bloat_ratio == pytest.approx(2 / 3, abs=0.01)


def test_gaps_behind_long_rows_are_learned_from_neighbouring_pages() -> None:
    # Sizes change along the table: pages drawn here and there would share gaps they never share.
    long_page, longer_page = page_of(3, 2400), page_of(2, 3600)
    samples = [long_page, longer_page] * 50
    runs = [[long_page] * 12] * 8 + [[longer_page] * 12] * 8

    assert gaps_matter(samples)
    assert not gaps_matter([page_of(3, 2400)] * 9)
    assert packed_size(samples, 10_000, runs=runs).bloat_ratio == pytest.approx(0, abs=0.005)
    assert (
        fill_of(samples, runs).error_ratio > fill_of(samples, [[long_page] * 12] * 16).error_ratio
    )


def test_a_low_fillfactor_is_not_called_bloat() -> None:
    assert packed_size([full_page(fill_percent=50)] * 20, 1000, 50).bloat_ratio == 0
    assert packed_size([full_page()] * 20, 1000, 50).bloat_ratio == 0  # a rewrite would grow it


def test_an_empty_sample_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one"):
        packed_size([], 10)


def test_equal_pages_still_leave_the_doubt_of_pages_not_seen() -> None:
    estimate = packed_size([full_page()] * 200, 100_000)

    assert estimate.bloat_ratio == 0
    # The rule of three: 3 of 200 pages may well be unlike all that were seen.
    assert 0.01 < estimate.high_ratio < 0.03


def test_counted_rows_leave_only_the_doubt_about_their_sizes() -> None:
    samples = [full_page()] * 20 + [PageSample()] * 20
    rows = 500 * full_page().rows

    estimate = counted_size(samples, 1000, rows)

    assert estimate.bloat_ratio == pytest.approx(0.5, abs=0.002)
    assert estimate.uncertainty_ratio <= 0.002
    assert counted_size([PageSample()], 1000, 0).bloat_ratio == 1


def test_students_t_matches_its_table() -> None:
    table = {3: 4.541, 5: 3.365, 10: 2.764, 30: 2.457, 1000: 2.330}
    for degrees, quantile in table.items():
        assert t_quantile(degrees) == pytest.approx(quantile, rel=0.03), degrees


@given(st.lists(st.floats(0, 1), min_size=4, max_size=60), st.integers(0, 10_000))
def test_limits_enclose_the_mean_of_the_sample(shares: list[float], unseen: int) -> None:
    low, high = mean_limits(shares, len(shares) + unseen)
    mean = sum(shares) / len(shares)

    assert -1e-9 <= low <= mean + 1e-9
    assert mean - 1e-9 <= high <= 1 + 1e-9
    if not unseen:
        assert high - low == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize(
    ("name", "population"),
    [
        ("nothing but empty pages", [0.0] * 5000),
        ("a few full pages among empty ones", [1.0] * 50 + [0.0] * 4950),
        ("a few empty pages among full ones", [0.0] * 50 + [0.9] * 4950),
        ("half of each", [1.0, 0.0] * 2500),
        ("skewed", [(number % 100 / 100) ** 6 for number in range(5000)]),
    ],
)
@pytest.mark.parametrize("count", [20, 200])
def test_limits_cover_the_truth_of_skewed_tables(
    name: str, population: list[float], count: int
) -> None:
    rng = random.Random(f"{name} {count}")
    truth = sum(population) / len(population)
    covered = 0
    for _ in range(100):
        low, high = mean_limits(rng.sample(population, count), len(population))
        covered += low <= truth <= high
    assert covered >= 90


@given(
    st.integers(1, 3000),
    st.integers(1, 300),
    st.integers(1, 300),
    st.integers(0, 2**32),
)
def test_drawn_pages_are_new_exist_and_lie_all_over_the_table(
    pages: int, first: int, second: int, seed: int
) -> None:
    rng = random.Random(seed)
    blocks = random_blocks(pages, first, set(), rng)
    more = random_blocks(pages, second, set(blocks), rng)

    assert len(blocks) == len(set(blocks)) == min(first, pages)
    assert not set(blocks) & set(more)
    assert all(0 <= block < pages for block in [*blocks, *more])
    for number in range(len(blocks)):
        assert number * pages // len(blocks) <= blocks[number] < (number + 1) * pages // len(blocks)


def test_a_table_of_two_gigabytes_is_read_to_one_per_cent_at_most() -> None:
    two_gigabytes = 2 * 1024**3 // 8192
    assert largest_sample_pages(two_gigabytes) <= two_gigabytes / 100
    assert largest_sample_pages(1000 * two_gigabytes) == largest_sample_pages(two_gigabytes)
