"""Sets of very many keys or ids, in memory that a worker has."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable

#: A million ids are a thousand in each, which one move of memory shifts by a place.
_BUCKETS = 1024


class HashedIds:
    """Many ids at 8 bytes each, by their hash: a set of Python's numbers takes ten times as much.

    Two ids of one hash (one pair in 10**19) are taken for one another: only for sets in which an id
    too many keeps something, or costs a number of a report.
    """

    def __init__(self, ids: Iterable[bytes] = ()) -> None:
        """Take the ids in."""
        self._buckets = [array("q") for _ in range(_BUCKETS)]
        for identity in ids:
            self.add(identity)

    def add(self, identity: bytes) -> bool:
        """Take one id in; return whether it is new."""
        hashed = hash(identity)
        bucket = self._buckets[hashed % _BUCKETS]
        place = bisect_left(bucket, hashed)
        if place < len(bucket) and bucket[place] == hashed:
            return False
        bucket.insert(place, hashed)
        return True

    def __len__(self) -> int:
        return sum(map(len, self._buckets))

    def __contains__(self, identity: bytes) -> bool:
        hashed = hash(identity)
        bucket = self._buckets[hashed % _BUCKETS]
        place = bisect_left(bucket, hashed)
        return place < len(bucket) and bucket[place] == hashed
