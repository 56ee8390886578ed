"""Counts of one stream family, as they come in while it is looked at and trimmed."""

import heapq
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from maintenance.conf import StreamFamily
from maintenance.redis.hashed_ids import HashedIds
from maintenance.redis.stream_claims import NO_CLAIMS, Claims
from maintenance.redis.stream_groups import Behind
from maintenance.redis.trimming import Excess, LengthDistribution, Piece, TrimRule

#: How many keys a report names of each kind; the counts are of all.
NAMED_KEYS = 10


@dataclass(slots=True)
class FamilyTally:
    """Counts of one family, over all nodes of its target.

    ``keys_seen`` counts the keys that SCAN returned and that were there: a key comes twice if the
    server's hash table shrinks meanwhile; offenders and removed members are counted once.
    ``moved_keys`` went to another node of the cluster during the run, ``untimed_keys`` have entry
    IDs that are no times.
    ``ages_withheld`` says why members of any age were left, empty where they were not.
    ``held_keys`` stay over their limits, by ``members_held``, since consumer groups need what is too much.
    ``claimed_keys`` are those of other families as well, of which the examples name one each.
    """

    name: str
    family: StreamFamily
    rule: TrimRule
    claims: Claims = NO_CLAIMS
    keys_seen: int = 0
    claimed_keys: int = 0
    claimed_examples: dict[bytes, str] = field(default_factory=dict)
    wrong_type_keys: int = 0
    wrong_type_examples: dict[bytes, str] = field(default_factory=dict)
    moved_keys: int = 0
    untimed_keys: int = 0
    ages_withheld: str = ""
    over_length_keys: int = 0
    members_over: int = 0
    members_removed: int = 0
    keys_exact_after: int = 0
    keys_over_after: int = 0
    held_keys: int = 0
    members_held: int = 0
    held_examples: dict[bytes, Behind] = field(default_factory=dict)
    sampled_keys: int = 0
    sampled_members: int = 0
    sampled_freed_bytes: int = 0
    memory_denied: bool = False
    longest_batch_seconds: float = 0.0
    duration_seconds: float = 0.0
    before: LengthDistribution = field(init=False)
    after: LengthDistribution = field(init=False)
    _longest: list[tuple[int, bytes]] = field(default_factory=list)
    _counted: HashedIds = field(default_factory=HashedIds)
    _held: HashedIds = field(default_factory=HashedIds)
    _measured: dict[bytes, int] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Start both distributions."""
        self.before = LengthDistribution(self.family.max_length)
        self.after = LengthDistribution(self.family.max_length)

    def take_look(
        self, keys: Sequence[bytes], answers: Sequence[Sequence[Any]]
    ) -> dict[bytes, Excess]:
        """Count one page; return what is in excess, by key.

        ``answers`` holds the lengths and, where ages are limited, what is too old.
        """
        if self.claims:
            keys, answers = self._without_claimed(keys, answers)
        if any(map(_holds_errors, answers)):
            keys, answers = self._without_errors(keys, answers)
        over = self._excesses(keys, answers)
        # Counting each length once and taking the offenders' away again is cheaper, where most
        # streams are none, than asking of each whether it is one.
        lengths = Counter(answers[0])
        self.keys_seen += len(keys) - lengths[0]
        self.before.add(lengths)
        lengths.subtract(excess.length for excess in over.values())
        self.after.add(lengths)
        for key, excess in over.items():
            self._count_offender(key, excess)
        return over

    def _without_claimed(
        self, keys: Sequence[bytes], answers: Sequence[Sequence[Any]]
    ) -> tuple[list[bytes], list[list[Any]]]:
        """Leave out what another family claims as well, and count what is there of it."""
        own: list[int] = []
        for place, key in enumerate(keys):
            claimant = self.claims.claimant(key)
            if claimant is None:
                own.append(place)
            elif answers[0][place]:
                self.claimed_keys += 1
                if len(self.claimed_examples) < NAMED_KEYS:
                    self.claimed_examples[key] = claimant
        return [keys[place] for place in own], [[a[place] for place in own] for a in answers]

    def _excesses(
        self, keys: Sequence[bytes], answers: Sequence[Sequence[Any]]
    ) -> dict[bytes, Excess]:
        limit = self.family.max_length
        if self.rule.age is None:
            pairs = zip(keys, answers[0], strict=True)
            return {key: Excess(length) for key, length in pairs if length > limit}
        over: dict[bytes, Excess] = {}
        for key, length, reply in zip(keys, *answers, strict=True):
            expired = self._expired(reply)
            if length > limit or expired:
                over[key] = Excess(length, expired)
        return over

    def _expired(self, reply: Any) -> int:
        if self.rule.age is None:
            return 0
        expired = self.rule.age.expired(reply)
        self.untimed_keys += expired < 0
        return max(0, expired)

    def _count_offender(self, key: bytes, excess: Excess) -> None:
        if not self._counted.add(key):
            return
        self.over_length_keys += 1
        self.members_over += max(excess.length - self.family.max_length, excess.expired)
        if len(self._longest) < NAMED_KEYS:
            heapq.heappush(self._longest, (excess.length, key))
        elif excess.length > self._longest[0][0]:
            heapq.heapreplace(self._longest, (excess.length, key))

    def _without_errors(
        self, keys: Sequence[bytes], answers: Sequence[Sequence[Any]]
    ) -> tuple[list[bytes], list[list[Any]]]:
        kept: list[bytes] = []
        rows: list[Sequence[Any]] = []
        for key, *row in zip(keys, *answers, strict=True):
            error = next((reply for reply in row if isinstance(reply, Exception)), None)
            if error is not None:
                self._take_error(key, error)
            else:
                kept.append(key)
                rows.append(row)
        return kept, [[row[column] for row in rows] for column in range(len(answers))]

    def _take_error(self, key: bytes, error: Exception) -> None:
        """Count a key of another type or on another node; any other error concerns the whole run."""
        if isinstance(error, redis.exceptions.AskError | redis.exceptions.TryAgainError):
            self.moved_keys += 1  # MOVED is an AskError as well
            return
        if not (isinstance(error, redis.ResponseError) and str(error).startswith("WRONGTYPE")):
            raise error
        self.wrong_type_keys += 1
        if len(self.wrong_type_examples) < NAMED_KEYS:
            self.wrong_type_examples[key] = ""

    def take_trim(self, batch: Sequence[Piece], replies: Sequence[Any]) -> None:
        """Count what the writes say they removed (LTRIM does not say)."""
        for piece, reply in zip(batch, replies, strict=True):
            self.take_write(piece.key, reply)

    def take_write(self, key: bytes, reply: Any) -> None:
        """Count what one write to ``key`` says it removed."""
        if isinstance(reply, Exception):
            self._take_error(key, reply)
        elif self.family.type != "list":
            self.members_removed += reply

    def take_second_look(self, pieces: Sequence[Piece], replies: Sequence[Any]) -> None:
        """Count the lengths of keys after these pieces, which ended their trim.

        LTRIM answers only OK, so what it removed from a list is the difference of the two looks:
        what another client pushed between them is missing from that number.
        """
        limit = self.family.max_length
        lengths = Counter(length for length in replies if isinstance(length, int))
        self.after.add(lengths)
        self.keys_exact_after += lengths[limit]
        self.keys_over_after += sum(keys for length, keys in lengths.items() if length > limit)
        if self.family.type != "list" and not self._measured:
            return
        for piece, length in zip(pieces, replies, strict=True):
            if not isinstance(length, int):
                self._measured.pop(piece.key, None)
                continue
            fewer = max(0, piece.excess.length - length)
            if self.family.type == "list":
                self.members_removed += fewer
            if piece.key in self._measured:
                self.sampled_members += fewer

    def take_held(self, key: bytes, held: int, behind: Behind) -> None:
        """Count a stream of which so much stays that is too much, for a group that needs it."""
        if not self._held.add(key):  # SCAN may name a key twice
            return
        self.held_keys += 1
        self.members_held += held
        if len(self.held_examples) < NAMED_KEYS:
            self.held_examples[key] = behind

    def take_memory(self, keys: Sequence[bytes], replies: Sequence[Any], *, after: bool) -> None:
        """Note the memory of keys before their trim, or add what it freed of them after."""
        for key, reply in zip(keys, replies, strict=True):
            if isinstance(reply, redis.exceptions.NoPermissionError):
                self.memory_denied = True
            elif isinstance(reply, int) and not after:
                self._measured[key] = reply
            elif after and key in self._measured:
                # No answer is a key that went altogether: all that it held is free.
                held = reply if isinstance(reply, int) else 0
                self.sampled_keys += 1
                self.sampled_freed_bytes += self._measured.pop(key) - held

    @property
    def members_to_go(self) -> int:
        """Members that are too many or too old, and that no consumer group needs."""
        return max(0, self.members_over - self.members_held)

    @property
    def grown_keys(self) -> int:
        """Keys over length at the second look for no consumer group."""
        return max(0, self.keys_over_after - self.held_keys)

    @property
    def freed_bytes(self) -> int | None:
        """Memory freed: what a removed member freed in the sample, times all that were removed."""
        if self.members_removed == 0:
            return 0
        if self.sampled_members == 0:
            return None
        return round(self.sampled_freed_bytes / self.sampled_members * self.members_removed)

    @property
    def longest(self) -> list[tuple[int, bytes]]:
        """The longest keys before the trim, longest first."""
        return sorted(self._longest, reverse=True)


def _holds_errors(replies: Sequence[Any]) -> bool:
    """Whether one of many replies is an error: by their few types, which is quick for thousands."""
    return any(issubclass(kind, Exception) for kind in set(map(type, replies)))
