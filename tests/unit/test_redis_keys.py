"""Shapes of keys, and what a sample says of all keys."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.redis.key_sample import KeySample, SampledKey, shares_of, total_interval
from maintenance.redis.key_shapes import LONGEST_SHOWN, OTHERS, common_shapes, shape_of, shortened


@pytest.mark.parametrize(
    ("key", "shape"),
    [
        (b"17-home", "*-home"),
        (b"17-home-unread-by-type", "*-home-unread-by-type"),
        (b":1:book-rating-4711", ":1:book-rating-*"),
        (b"django_cache:1:fav-1-2", "django_cache:*:fav-*-*"),
        (b"cache:0f8fad5b-d9cb-469f-a165-70867728950e:x", "cache:*:x"),
        (b"celery-task-meta-0f8fad5b-d9cb-469f-a165-70867728950e", "celery-task-meta-*"),
        (b"celery", "celery"),
        (b"\xff7", "\\xff*"),
    ],
)
def test_what_differs_from_key_to_key_is_a_star(key: bytes, shape: str) -> None:
    assert shape_of(key) == shape


@given(st.binary(max_size=300))
def test_a_shape_is_bounded_and_says_no_number(key: bytes) -> None:
    assert len(shape_of(key)) <= 4 * LONGEST_SHOWN + 1
    assert len(shortened(key)) <= LONGEST_SHOWN + 30


def test_rare_shapes_are_counted_together() -> None:
    names = ["user:anna:x", "user:otto:x", "user:emil:x"]
    shapes = ["page:*"] * 997 + names + ["lonely"]
    merged = common_shapes(shapes)
    assert merged["page:*"] == "page:*"
    assert {merged[name] for name in names} == {OTHERS}
    many = common_shapes(
        ["page:*"] * 900 + [f"user:{c}{d}:x" for c in "abcdefghij" for d in "abcdefghij"]
    )
    assert many["user:aa:x"] == "user:*"


def test_the_band_of_a_total_holds_the_truth_in_nearly_all_samples() -> None:
    chance = random.Random(7)
    population = [chance.choice([60, 80, 4000]) if n % 3 else 0 for n in range(20_000)]
    truth, held = sum(population), 0
    for _ in range(200):
        drawn = chance.choices(population, k=400)
        _, low, high = total_interval([v for v in drawn if v], len(drawn), len(population))
        held += low <= truth <= high
    assert held >= 180


def key(size: int | None) -> SampledKey:
    return SampledKey("1-home", "*-home", "zset", size, None, None)


def test_too_few_sampled_keys_or_an_unknown_size_give_no_bytes() -> None:
    few = KeySample(10_000, is_whole=False, keys=[key(100)] * 9)
    assert shares_of(few)[0].size_bytes is None
    unknown = KeySample(10_000, is_whole=False, keys=[key(100)] * 20 + [key(None)])
    assert shares_of(unknown)[0].size_bytes is None
    enough = KeySample(10_000, is_whole=False, keys=[key(100)] * 20)
    assert shares_of(enough)[0].size_bytes == 1_000_000


def test_a_sample_says_how_likely_it_finds_one_key() -> None:
    assert KeySample(100, is_whole=True).chance_of_a_key() == 1.0
    sample = KeySample(10_000, is_whole=False, keys=[key(1)] * 1000)
    assert sample.chance_of_a_key() == pytest.approx(0.095, abs=0.002)
