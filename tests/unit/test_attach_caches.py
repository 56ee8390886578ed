"""Keys of caches among all that look alike."""

import pytest

from maintenance.attach.caches import FEWEST_KEYS, MOST_VERSIONS, CacheSeen, caches_of
from maintenance.attach.look import RedisSeen


def found(*prefixes: CacheSeen) -> list[CacheSeen]:
    return list(caches_of(RedisSeen("redis://h:6379/0", "Redis 7.2", 1000, (), (), prefixes)))


@pytest.mark.parametrize(
    ("prefixes", "caches"),
    [
        ([("", 1, FEWEST_KEYS)], [("", 1, FEWEST_KEYS)]),
        ([("", 1, FEWEST_KEYS - 1)], []),
        ([("user", number, 9) for number in range(MOST_VERSIONS + 1)], []),
        # Two versions of a cache, the older one on its way out.
        ([("shop", 1, 7), ("shop", 2, 90)], [("shop", 2, 90), ("shop", 1, 7)]),
        # shop:1:user:7:page is of the cache shop.
        ([("shop", 1, 90), ("shop:1:user", 7, 30)], [("shop", 1, 90)]),
        ([("", 2, 90), (":2:user", 1, 30)], [("", 2, 90)]),
        ([("", 1, 9), (":1", 2, 9)], [("", 1, 9)]),
        # site:7:1:page: every key has both numbers, and 1 is Django's own version.
        ([("site", 7, 90), ("site:7", 1, 90)], [("site:7", 1, 90)]),
        # A cache a tenant: the tenant's number is no version.
        (
            [
                *(("tenant", n, 9) for n in range(1, 6)),
                *((f"tenant:{n}", 1, 9) for n in range(1, 6)),
            ],
            [(f"tenant:{n}", 1, 9) for n in range(1, 6)],
        ),
    ],
)
def test_a_cache_has_many_keys_and_few_versions(
    prefixes: list[CacheSeen], caches: list[CacheSeen]
) -> None:
    assert found(*prefixes) == caches
    assert found(*reversed(prefixes)) == caches
