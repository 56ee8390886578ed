"""Whose streams there are: the ids that an operator's query or function answers with, and their keys."""

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass

from maintenance.conf import StreamFamily


@dataclass(frozen=True, slots=True)
class OwnerKeys:
    """The form of a family's keys: what stands before and after the owner's id."""

    before: bytes
    after: bytes

    @classmethod
    def of(cls, family: StreamFamily) -> "OwnerKeys":
        """Read it from a pattern with one star."""
        before, _, after = family.pattern.encode().partition(b"*")
        return cls(before, after)

    def owner(self, key: bytes) -> bytes:
        """Return the id in a key that matches the pattern."""
        return key[len(self.before) : len(key) - len(self.after)]


class HashedIds:
    """Many ids at 8 bytes each, by their hash.

    Two ids of one hash (one pair in 10**19) are taken for one another: only for sets in which an id
    too many keeps something.
    """

    def __init__(self, ids: Iterable[bytes]) -> None:
        """Take the ids in."""
        self._hashes = array("q", sorted(array("q", map(hash, ids))))

    def __len__(self) -> int:
        return len(self._hashes)

    def __contains__(self, identity: bytes) -> bool:
        wanted = hash(identity)
        place = bisect_left(self._hashes, wanted)
        return place < len(self._hashes) and self._hashes[place] == wanted


@dataclass(frozen=True, slots=True)
class Answer:
    """Who is still there (``kept``) or who has left (``gone``), as asked at one moment."""

    kept: HashedIds | None
    gone: frozenset[bytes] | None

    @classmethod
    def of(cls, ids: Iterable[str], answers: str) -> "Answer":
        """Read the ids, which are ``answers``: "kept" or "gone"."""
        encoded = (identity.encode() for identity in ids)
        if answers == "kept":
            return cls(HashedIds(encoded), None)
        return cls(None, frozenset(encoded))

    def __len__(self) -> int:
        return len(self.gone or ()) if self.kept is None else len(self.kept)

    def is_gone(self, owner: bytes) -> bool:
        """Whether the owner has left. An id that the answer does not know stays with "gone"."""
        if self.kept is not None:
            return owner not in self.kept
        return self.gone is not None and owner in self.gone
