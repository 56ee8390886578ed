"""So many keys a second and no more, whatever went before."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.errors import Cancelled
from maintenance.redis.reclaim import pace as pace_part
from maintenance.redis.reclaim.pace import LONGEST_NAP_SECONDS, Pace


class Clock:
    """Time that passes in naps and in work alone."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.naps: list[float] = []

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.naps.append(seconds)
        self.now += seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(pace_part, "time", clock)
    return clock


@given(
    batches=st.lists(
        st.tuples(st.integers(min_value=1, max_value=50), st.floats(min_value=0, max_value=3)),
        min_size=1,
        max_size=30,
    )
)
def test_no_stretch_of_time_has_more_keys_than_it_may_but_for_two_batches(
    batches: list[tuple[int, float]],
) -> None:
    with pytest.MonkeyPatch.context() as patch:
        clock = Clock()
        patch.setattr(pace_part, "time", clock)
        pace = Pace(10.0, lambda: None)
        written: list[tuple[float, int]] = []
        for keys, worked_seconds in batches:
            clock.now += worked_seconds
            written.append((clock.now, keys))
            pace.wrote(keys)
    largest = max(keys for _at, keys in written)
    for first, (began, _keys) in enumerate(written):
        sum_of_keys = 0
        for at, keys in written[first:]:
            sum_of_keys += keys
            assert sum_of_keys <= 10.0 * (at - began) + 2 * largest + 1e-6


def test_a_minute_of_looking_is_no_leave_for_a_minutes_worth_of_writes(clock: Clock) -> None:
    pace = Pace(10.0, lambda: None)
    clock.now += 60.0
    began = clock.now
    for _ in range(6):
        pace.wrote(10)
    assert clock.now - began == pytest.approx(5.0)


def test_no_nap_is_long_and_each_asks_whether_the_run_goes_on(clock: Clock) -> None:
    def check() -> None:
        if clock.now > 1002.0:
            raise Cancelled("Somebody asked for this run to stop.")

    pace = Pace(1.0, check)
    with pytest.raises(Cancelled):
        pace.wrote(60)
    assert clock.now < 1002.0 + 2 * LONGEST_NAP_SECONDS
    assert max(clock.naps) <= LONGEST_NAP_SECONDS


def test_a_batch_holds_the_keys_of_a_second_and_at_least_one(clock: Clock) -> None:
    assert Pace(100.0, lambda: None).most_at_once == 100
    assert Pace(0.2, lambda: None).most_at_once == 1
    unlimited = Pace(None, lambda: None)
    unlimited.wrote(10**9)
    assert unlimited.most_at_once > 10**9
    assert clock.naps == []
