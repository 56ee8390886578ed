"""Counts of streams whose owners are gone, as they come in, and whether they can be meant."""

import heapq
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from maintenance.conf import StreamFamily, StreamOwners
from maintenance.core.wording import counted, percent
from maintenance.redis.owners import OwnerKeys

#: How many keys a report names of each family.
NAMED_KEYS = 10

EMPTY_ANSWER = (
    "nobody is kept by the answer, which is empty: an empty answer is a broken query, not a site"
    " without users"
)
REPLICA = "the server is a replica"


@dataclass(slots=True)
class CompanionTally:
    """Counts of the companion keys of one family.

    ``gone_keys`` have no stream, and their owners are gone. ``keys_of_others`` would be of them, but
    another family may have them. ``refusal`` says why nothing is removed, empty where it may be.
    """

    keys_seen: int = 0
    gone_keys: int = 0
    keys_of_others: int = 0
    sampled_keys: int = 0
    sampled_bytes: int = 0
    memory_denied: bool = False
    refusal: str = ""
    removed_keys: int = 0
    duration_seconds: float = 0.0
    examples: list[bytes] = field(default_factory=list)

    def take_gone(self, keys: Sequence[bytes]) -> None:
        """Count keys without owner and stream."""
        self.gone_keys += len(keys)
        self.examples += keys[: NAMED_KEYS - len(self.examples)]

    def take_memory(self, replies: Sequence[Any]) -> None:
        """Add what some of them hold."""
        for reply in replies:
            if isinstance(reply, redis.exceptions.NoPermissionError):
                self.memory_denied = True
            elif isinstance(reply, int):
                self.sampled_keys += 1
                self.sampled_bytes += reply

    @property
    def share(self) -> float:
        """Which part of the family's companion keys has neither owner nor stream, 0 to 1."""
        return _share(self.gone_keys, self.keys_seen)

    @property
    def held_bytes(self) -> int | None:
        """Memory of all of them, by that of the sample; ``None`` without one."""
        return _estimated_bytes(self.sampled_bytes, self.sampled_keys, self.gone_keys)


@dataclass(slots=True)
class AbandonedTally:
    """Counts of one family.

    ``refusal`` says why nothing is removed, and is empty where nothing speaks against it.
    ``claimed_keys`` are of owners who are gone, and of another family as well. ``keys_seen`` and
    ``gone_keys`` count the keys that SCAN returned while ``counting``: a key comes
    twice if the server's hash table shrinks meanwhile.
    """

    name: str
    family: StreamFamily
    owners: StreamOwners
    owners_known: int = 0
    keys_seen: int = 0
    wrong_type_keys: int = 0
    moved_keys: int = 0
    claimed_keys: int = 0
    claimed_examples: dict[bytes, str] = field(default_factory=dict)
    gone_keys: int = 0
    gone_members: int = 0
    sampled_streams: int = 0
    sampled_bytes: int = 0
    memory_denied: bool = False
    refusal: str = ""
    removed_keys: int = 0
    removed_companions: int = 0
    came_back_keys: int = 0
    duration_seconds: float = 0.0
    counting: bool = False
    companions_left: CompanionTally = field(default_factory=CompanionTally)
    form: OwnerKeys = field(init=False)
    _longest: list[tuple[int, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Learn where the owner stands in a key."""
        self.form = OwnerKeys.of(self.family)

    def is_stream(self, length: Any) -> bool:
        """Whether a look found a stream of this family; counts it, or what it is instead."""
        if isinstance(length, Exception):
            self.take_error(length)
            return False
        if self.counting and length:
            self.keys_seen += 1
        return bool(length)

    def take_error(self, error: Exception) -> None:
        """Count a key that moved or is of another type; raises any other error."""
        if isinstance(error, redis.exceptions.AskError | redis.exceptions.TryAgainError):
            self.moved_keys += 1
        elif isinstance(error, redis.ResponseError) and str(error).startswith("WRONGTYPE"):
            self.wrong_type_keys += self.counting
        else:
            raise error

    def take_claimed(self, key: bytes, claimant: str) -> None:
        """Count a stream whose owner is gone, and which another family claims as well."""
        self.claimed_keys += 1
        if len(self.claimed_examples) < NAMED_KEYS:
            self.claimed_examples[key] = claimant

    def take_gone(self, key: bytes, length: int) -> None:
        """Count a stream whose owner is gone."""
        self.gone_keys += 1
        self.gone_members += length
        if len(self._longest) < NAMED_KEYS:
            heapq.heappush(self._longest, (length, key))
        elif length > self._longest[0][0]:
            heapq.heapreplace(self._longest, (length, key))

    def take_memory(self, replies: Sequence[Any]) -> None:
        """Add what one stream and its companions hold."""
        if any(isinstance(reply, redis.exceptions.NoPermissionError) for reply in replies):
            self.memory_denied = True
            return
        self.sampled_streams += 1
        self.sampled_bytes += sum(reply for reply in replies if isinstance(reply, int))

    def removed(self, reply: Any) -> int:
        """Return how many keys one UNLINK removed: 1, or 0 where there was none."""
        if isinstance(reply, Exception):
            self.take_error(reply)
            return 0
        return int(reply)

    def companions(self, key: bytes) -> list[bytes]:
        """Return the keys that belong to a stream."""
        return [template.encode().replace(b"{key}", key) for template in self.family.companions]

    @property
    def may_lose_keys(self) -> bool:
        """Whether there is something to remove, and nothing that speaks against it."""
        left = self.companions_left
        return not self.refusal and bool(self.gone_keys or (left.gone_keys and not left.refusal))

    @property
    def share(self) -> float:
        """Which part of the family's streams has lost its owner, 0 to 1."""
        return _share(self.gone_keys, self.keys_seen)

    @property
    def held_bytes(self) -> int | None:
        """Memory of all streams without owner, by that of the sample; ``None`` without one."""
        return _estimated_bytes(self.sampled_bytes, self.sampled_streams, self.gone_keys)

    @property
    def longest(self) -> list[tuple[int, bytes]]:
        """The longest of these streams, longest first."""
        return sorted(self._longest, reverse=True)


def _share(gone: int, seen: int) -> float:
    return gone / seen if seen else 0.0


def _estimated_bytes(sampled_bytes: int, sampled: int, gone: int) -> int | None:
    if not gone:
        return 0
    return round(sampled_bytes / sampled * gone) if sampled else None


def refusal(tally: AbandonedTally) -> str:
    """Say why nothing of a family may be removed; empty where it may. Pure."""
    if tally.owners.answers == "kept" and tally.keys_seen == tally.gone_keys > 0:
        return _none_known(tally.keys_seen, "stream")
    if tally.share > tally.owners.share_limit_ratio:
        return _too_large(tally.share, "streams", tally)
    return ""


def companions_refusal(tally: AbandonedTally) -> str:
    """Say why no companion key that outlived its stream may be removed; empty where it may. Pure."""
    left = tally.companions_left
    # Streams of owners who are known show that the right ids were asked for.
    unproved = tally.owners.answers == "kept" and tally.keys_seen == tally.gone_keys
    if unproved and left.keys_seen == left.gone_keys > 0:
        return _none_known(left.keys_seen, "companion key")
    if left.share > tally.owners.share_limit_ratio:
        return _too_large(left.share, "companion keys", tally)
    return ""


def _none_known(keys: int, what: str) -> str:
    return (
        f"not one of {counted(keys, what)} belongs to an id of the answer:"
        " another column or another database must be meant"
    )


def _too_large(share: float, what: str, tally: AbandonedTally) -> str:
    return (
        f"{percent(share)} of the {what} would go, more than share_limit_ratio"
        f" ({percent(tally.owners.share_limit_ratio)}) of stream_owners.{tally.family.owners} allows"
    )
