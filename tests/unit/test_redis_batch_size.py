"""Batches follow the speed of the server."""

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from maintenance.redis_client.batch_size import (
    RECENT_BATCHES,
    TARGET_SECONDS,
    BatchSize,
    clocked,
    epoch_seconds,
)


def clock(seconds: float) -> list[bytes]:
    return [b"%d" % int(seconds), b"%d" % round(seconds % 1 * 1e6)]


def run(size: BatchSize, seconds_per_unit: float, batches: int) -> None:
    for _ in range(batches):
        size.take(size.units, clock(1000), clock(1000 + size.units * seconds_per_unit))


@given(microseconds=st.integers(min_value=1, max_value=30))
def test_a_batch_comes_to_take_the_same_time_at_any_speed(microseconds: int) -> None:
    size = BatchSize(250, smallest=20, largest=2000)
    run(size, microseconds / 1e6, 20)
    seconds = size.units * microseconds / 1e6
    assert seconds <= TARGET_SECONDS or size.units == 20
    assert seconds > 0.9 * TARGET_SECONDS or size.units == 2000


def test_a_server_that_becomes_slower_gets_smaller_batches() -> None:
    size = BatchSize(250, smallest=20, largest=2000)
    run(size, 2e-6, 10)
    before = size.units
    run(size, 5e-6, RECENT_BATCHES)
    assert size.units == pytest.approx(before / 2.5, rel=0.02)


def test_one_batch_that_the_machine_held_up_changes_nothing() -> None:
    size = BatchSize(250, smallest=20, largest=2000)
    run(size, 2e-6, 10)
    before = size.units
    run(size, 100e-6, 1)
    assert size.units == before
    assert size.longest_seconds == pytest.approx(before * 100e-6, rel=0.01)


def test_batches_grow_step_by_step_and_stay_within_their_bounds() -> None:
    size = BatchSize(100, smallest=50, largest=1000)
    run(size, 0.0, 1)
    assert size.units == 200
    run(size, 0.0, 9)
    assert size.units == 1000
    run(size, 1.0, RECENT_BATCHES)
    assert size.units == 50


def test_a_clock_that_is_set_back_is_no_negative_time() -> None:
    size = BatchSize(100, smallest=50, largest=1000)
    size.take(100, clock(1000), clock(900))
    assert size.longest_seconds == 0.0


def test_without_the_right_to_read_the_clock_the_size_stays() -> None:
    size = BatchSize(100, smallest=50, largest=1000)
    denied = redis.exceptions.NoPermissionError("no permissions to run the 'time' command")
    size.take(100, denied, denied)
    assert (size.units, size.longest_seconds) == (100, 0.0)


def test_any_other_error_in_place_of_the_time_is_raised() -> None:
    with pytest.raises(redis.ResponseError):
        epoch_seconds(redis.ResponseError("LOADING"))
    assert epoch_seconds([b"1700000000", b"250000"]) == 1_700_000_000.25
    assert clocked([b"x"])[1:-1] == [b"x"]
