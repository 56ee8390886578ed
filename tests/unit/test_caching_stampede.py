"""When a value is due, by its arithmetic alone."""

import math

from hypothesis import given
from hypothesis import strategies as st

from maintenance.caching.stampede import Envelope

times = st.floats(0, 1e10)
chances = st.floats(1e-12, 1.0)


@given(ends_at=times, compute_seconds=st.floats(0, 1e4), chance=chances)
def test_past_its_end_a_value_is_always_due(
    ends_at: float, compute_seconds: float, chance: float
) -> None:
    assert Envelope("x", ends_at, compute_seconds).is_due(ends_at, 1.0, chance)


@given(left=st.floats(0.001, 1e6), chance=chances)
def test_what_costs_nothing_is_never_refreshed_early(left: float, chance: float) -> None:
    assert not Envelope("x", 1e6 + left, 0.0).is_due(1e6, 1.0, chance)


@given(chance=chances)
def test_without_beta_nothing_is_refreshed_early(chance: float) -> None:
    assert not Envelope("x", 1001.0, 500.0).is_due(1000.0, 0.0, chance)


def test_a_reader_refreshes_early_with_the_probability_of_the_paper() -> None:
    """P(-delta * beta * ln(u) >= left) is exp(-left / (delta * beta))."""
    envelope = Envelope("x", 1010.0, 5.0)
    threshold = math.exp(-10.0 / 5.0)
    assert envelope.is_due(1000.0, 1.0, threshold * 0.999)
    assert not envelope.is_due(1000.0, 1.0, threshold * 1.001)


def test_a_value_of_the_sites_own_never_comes_to_its_end() -> None:
    assert not Envelope("x", math.inf, 0.0).is_due(1e12, 1.0, 1e-9)
