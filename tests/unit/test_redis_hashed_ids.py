"""Very many ids in little memory: a set like any other."""

import tracemalloc
from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import StreamFamily
from maintenance.redis.hashed_ids import HashedIds
from maintenance.redis.stream_tally import FamilyTally
from maintenance.redis.trimming import TrimRule

MANY = 50_000
#: A set of a million such numbers takes 76: 32 for a number, and as much again for its table.
MOST_BYTES_EACH = 16


@given(st.lists(st.binary(max_size=3)), st.lists(st.binary(max_size=3)))
def test_it_holds_what_a_set_holds(ids: list[bytes], asked: list[bytes]) -> None:
    known: set[bytes] = set()
    hashed = HashedIds()
    for identity in ids:
        assert hashed.add(identity) is (identity not in known)
        known.add(identity)
    assert len(hashed) == len(known)
    assert [one in hashed for one in asked] == [one in known for one in asked]
    assert all(one in HashedIds(ids) for one in ids)


def bytes_held_after(work: Callable[[], object]) -> int:
    tracemalloc.start()
    try:
        before = tracemalloc.get_traced_memory()[0]
        kept = work()
        assert kept is not None
        return tracemalloc.get_traced_memory()[1] - before
    finally:
        tracemalloc.stop()


def test_ids_take_8_bytes_each_and_hardly_more_while_they_come_in() -> None:
    ids = HashedIds()

    def fill() -> HashedIds:
        for number in range(MANY):
            ids.add(b"%d-home" % number)
        return ids

    assert bytes_held_after(fill) < MOST_BYTES_EACH * MANY
    assert len(ids) == MANY


def test_a_trim_in_which_every_stream_is_too_long_stays_small() -> None:
    family = StreamFamily(redis="main", pattern="*", max_length=10)
    tally = FamilyTally("home", family, TrimRule(family))

    def look() -> FamilyTally:
        for start in range(0, MANY, 1000):
            keys = [b"%d-home" % number for number in range(start, start + 1000)]
            tally.take_look(keys, [[25] * 1000])
        return tally

    assert bytes_held_after(look) < MOST_BYTES_EACH * MANY
    assert tally.over_length_keys == MANY
    tally.take_look([b"7-home"], [[25]])
    assert tally.over_length_keys == MANY
