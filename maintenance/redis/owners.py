"""Whose streams there are: the ids that an operator's query or function answers with, and their keys."""

from collections.abc import Iterable
from dataclasses import dataclass

from maintenance.conf import StreamFamily
from maintenance.redis.hashed_ids import HashedIds


@dataclass(frozen=True, slots=True)
class OwnerKeys:
    """The form of keys of owners: what stands before and after the owner's id."""

    before: bytes
    after: bytes

    @classmethod
    def of(cls, family: StreamFamily) -> "OwnerKeys":
        """Read that of a family's streams from its pattern with one star."""
        before, _, after = family.pattern.encode().partition(b"*")
        return cls(before, after)

    def companions(self, template: str) -> "OwnerKeys":
        """Return the form of the keys that a companion's template makes of keys of this form."""
        before, _, after = template.encode().partition(b"{key}")
        return OwnerKeys(before + self.before, self.after + after)

    def matches(self, key: bytes) -> bool:
        """Whether a key has this form."""
        is_long = len(key) >= len(self.before) + len(self.after)
        return is_long and key.startswith(self.before) and key.endswith(self.after)

    def owner(self, key: bytes) -> bytes:
        """Return the id in a key of this form."""
        return key[len(self.before) : len(key) - len(self.after)]

    def key(self, owner: bytes) -> bytes:
        """Return the key of this form with such an id."""
        return self.before + owner + self.after


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


@dataclass(frozen=True, slots=True)
class Departures:
    """Who has left by an answer, but for the ids that stay in any case."""

    answer: Answer
    stay: frozenset[bytes]

    def include(self, owner: bytes) -> bool:
        """Whether the owner has left."""
        return bool(owner) and owner not in self.stay and self.answer.is_gone(owner)
