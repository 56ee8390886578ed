"""What a trim counts of the replies that it gets."""

from collections.abc import Sequence
from typing import Any

import pytest
import redis

from maintenance.conf import StreamFamily
from maintenance.redis.stream_tally import FamilyTally
from maintenance.redis.trimming import Excess, TrimRule

NOW = 1_700_000_000.0

WRONG_TYPE = redis.ResponseError(
    "WRONGTYPE Operation against a key holding the wrong kind of value"
)


def tally(kind: str = "zset") -> FamilyTally:
    family = StreamFamily(redis="main", pattern="s*", type=kind, max_length=5, max_age_seconds=3600)
    return FamilyTally("f", family, TrimRule(family, NOW))


@pytest.mark.parametrize(
    ("error", "moved", "wrong"),
    [
        (redis.exceptions.MovedError("1 127.0.0.1:7001"), 1, 0),
        (redis.exceptions.AskError("1 127.0.0.1:7001"), 1, 0),
        (redis.exceptions.TryAgainError("TRYAGAIN"), 1, 0),
        (WRONG_TYPE, 0, 1),
    ],
)
@pytest.mark.parametrize(
    ("kind", "old"), [("zset", 1), ("stream", [[b"1600000000000-0", [b"n", b"1"]]])]
)
def test_an_error_in_the_look_at_ages_costs_its_key_alone(
    error: Exception, moved: int, wrong: int, kind: str, old: Any
) -> None:
    counts = tally(kind)
    none: Any = 0 if kind == "zset" else []
    ages: Sequence[Any] = [old, error, none]
    over = counts.take_look([b"s1", b"s2", b"s3"], [[9, 9, 4], ages])
    assert over == {b"s1": Excess(9, 1)}
    assert (counts.moved_keys, counts.wrong_type_keys) == (moved, wrong)
    assert (counts.keys_seen, counts.over_length_keys) == (2, 1)


def test_an_error_that_concerns_every_key_ends_the_run() -> None:
    denied = redis.exceptions.NoPermissionError("no permissions to run the 'zcount' command")
    with pytest.raises(redis.exceptions.NoPermissionError):
        tally().take_look([b"s1"], [[9], [denied]])
