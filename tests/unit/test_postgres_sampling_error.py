"""Standard errors of sampled means: what they are for samples whose error is known."""

import math
import random
from statistics import fmean, pstdev

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.postgres.bloat.sampling_error import (
    error_by_page,
    error_of_mean,
    error_of_strata,
    evenly,
)

SIZES = st.lists(st.floats(1, 1000), min_size=2, max_size=50)


@given(st.lists(st.integers(0, 10_000), unique=True).map(sorted), st.integers(1, 200))
def test_blocks_are_taken_from_all_parts_alike(blocks: list[int], wanted: int) -> None:
    taken = evenly(blocks, wanted)
    assert len(taken) == min(wanted, len(blocks))
    assert sorted(set(taken)) == list(taken)
    assert set(taken) <= set(blocks)


@given(SIZES)
def test_a_mean_of_all_there_is_has_no_error(values: list[float]) -> None:
    assert error_of_mean(values, len(values)) == 0
    assert error_of_mean(values, math.inf) >= 0


@given(SIZES, SIZES)
def test_strata_count_by_their_number_and_not_by_how_many_were_looked_at(
    few: list[float], many: list[float]
) -> None:
    alone = error_of_strata({"few": 7}, {"few": few})
    assert alone == pytest.approx(error_of_mean(few, math.inf) / fmean(few))
    beside = error_of_strata({"few": 1, "many": 10**9}, {"few": few, "many": many})
    assert beside == pytest.approx(error_of_mean(many, math.inf) / fmean(many), rel=1e-3, abs=1e-6)


def test_what_lies_on_one_page_is_alike_and_counts_as_one_look() -> None:
    blocks = [block for block in range(50) for _ in range(40)]
    rng = random.Random(1)
    of_page = [rng.uniform(50, 150) for _ in range(50)]
    sizes = [of_page[block] for block in blocks]
    as_pages = pstdev(of_page) / math.sqrt(50) / fmean(of_page)
    assert error_by_page(blocks, sizes) == pytest.approx(as_pages, rel=0.25)
    assert error_by_page(blocks, [100.0] * len(blocks)) == 0


def test_a_trend_over_the_table_is_no_error_of_pages_from_all_parts() -> None:
    blocks = list(range(100))
    rising = [100.0 + block for block in blocks]
    assert error_by_page(blocks, rising) < error_of_mean(rising, math.inf) / fmean(rising) / 10
