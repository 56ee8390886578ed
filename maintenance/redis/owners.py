"""Whose streams there are: the ids that an operator's query or function answers with, and their keys."""

from collections.abc import Iterable
from dataclasses import dataclass

from maintenance.conf import StreamFamily
from maintenance.redis.hashed_ids import HashedIds


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
