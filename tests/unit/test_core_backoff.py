"""How long to wait before trying again."""

import random

from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.backoff import RetryPolicy

policies = st.builds(
    RetryPolicy,
    max_attempts=st.integers(1, 20),
    base_seconds=st.floats(0.001, 100),
    ceiling_seconds=st.floats(0.001, 10_000),
)


@given(policies, st.integers(1, 5000), st.integers())
def test_a_delay_is_never_negative_and_never_above_its_bound(
    policy: RetryPolicy, failures: int, seed: int
) -> None:
    delay = policy.delay_seconds(failures, random.Random(seed))

    assert 0 <= delay <= policy.longest_delay_seconds(failures) <= policy.ceiling_seconds


@given(policies, st.integers(1, 5000))
def test_the_bound_never_shrinks_with_more_failures(policy: RetryPolicy, failures: int) -> None:
    bound = policy.longest_delay_seconds(failures)

    assert bound <= policy.longest_delay_seconds(failures + 1)


def test_the_bound_doubles_until_the_ceiling() -> None:
    policy = RetryPolicy(base_seconds=2, ceiling_seconds=30)

    assert [policy.longest_delay_seconds(n) for n in (1, 2, 3, 4, 5)] == [2, 4, 8, 16, 30]


def test_the_jitter_is_full_so_that_clients_spread_over_the_whole_wait() -> None:
    policy = RetryPolicy(base_seconds=100, ceiling_seconds=100)
    rng = random.Random(1)

    delays = [policy.delay_seconds(1, rng) for _ in range(400)]

    assert min(delays) < 5
    assert max(delays) > 95
    assert 40 < sum(delays) / len(delays) < 60


@given(policies)
def test_it_gives_up_after_exactly_its_attempts(policy: RetryPolicy) -> None:
    assert policy.gives_up_after(policy.max_attempts)
    assert not policy.gives_up_after(policy.max_attempts - 1)
