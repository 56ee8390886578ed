"""The rule of a stream family as commands: how much is in a key, and what keeps it within its limits.

Every write restates the rule ("keep the N at this end", "drop what is older than this moment")
instead of naming what a look saw before: whatever other clients write between the look and the
trim, a trim never removes a member that the rule keeps.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from maintenance.conf import StreamFamily
from maintenance.redis.ages import STEP_MEMBERS, AgeRule
from maintenance.redis.stream_groups import NEEDS_ACL as GROUPS_ACL
from maintenance.redis_client.batch_size import TARGET_SECONDS, BatchSize
from maintenance.redis_client.packed import Packer, pack

#: One command removes at most this many members. Measured on a set of a million: one call for all
#: stalls every client for 0.4 s. Pieces of 1,000, and often of 125, still cost Valkey 9 up to 40 ms
#: when the hash table of the set shrinks, because the next shrink comes before the last is worked off,
#: which each command does a step of; pieces of 40 and less cost 2 ms.
PIECE_MEMBERS = 25
#: A command that removes nothing takes the server about as long as removing so many members.
PIECE_OVERHEAD_MEMBERS = 5

#: A batch begins with about so many members to remove, and never shrinks below the second number.
FIRST_BATCH_MEMBERS = 1000
SMALLEST_BATCH_MEMBERS = 100
LARGEST_BATCH_MEMBERS = 4000
#: Less than what a page of looks takes: looks and writes are with the server at once, and others wait
#: for both. Where keys are many and few are too long, most batches are looks.
BATCH_SECONDS = TARGET_SECONDS / 2
#: A large key is nothing but writes, one batch after the other: before each the server gets twice as
#: long for others.
LARGE_KEY_REST_SECONDS = 2 * BATCH_SECONDS

LENGTH_COMMANDS = {"zset": b"ZCARD", "list": b"LLEN", "stream": b"XLEN"}
_TRIM_COMMANDS = {"zset": b"ZREMRANGEBYRANK", "list": b"LTRIM", "stream": b"XTRIM"}


class Excess(NamedTuple):
    """A key that holds more than its rule keeps, as a look saw it.

    ``expired`` is the number of members older than the family keeps them; a Redis stream does not
    count its entries by age, so it is 1 there if there are any.
    """

    length: int
    expired: int = 0


class Piece(NamedTuple):
    """One bounded write: after it, ``keep`` members of ``key`` remain at the kept end.

    Without ``keep`` it removes by age. ``first`` and ``last`` say where it stands among the pieces
    of its key, ``steps_follow`` that none of them does the rest (:meth:`AgeRule.trim_in_steps`).
    """

    key: bytes
    excess: Excess
    keep: int | None
    members: int  # how many it removes, by the look before
    first: bool
    last: bool
    steps_follow: bool = False


def batch_size() -> BatchSize:
    """Return the adaptive size of batches of pieces, in members."""
    return BatchSize(
        FIRST_BATCH_MEMBERS,
        smallest=SMALLEST_BATCH_MEMBERS,
        largest=LARGEST_BATCH_MEMBERS,
        target_seconds=BATCH_SECONDS,
    )


def weight(batch: Iterable[Piece]) -> int:
    """Return what a batch costs the server, in members."""
    return sum(piece.members + PIECE_OVERHEAD_MEMBERS for piece in batch)


def batches(pieces: Iterable[Piece], size: BatchSize) -> Iterator[list[Piece]]:
    """Group the pieces of many keys so that one batch weighs at most what ``size`` says by then."""
    batch: list[Piece] = []
    total = 0
    for piece in pieces:
        added = piece.members + PIECE_OVERHEAD_MEMBERS
        if batch and total + added > size.units:
            yield batch
            batch, total = [], 0
        batch.append(piece)
        total += added
    if batch:
        yield batch


class TrimRule:
    """The commands of one stream family.

    ``age`` is ``None`` where members of any age stay.
    """

    def __init__(self, family: StreamFamily, now_epoch_seconds: float | None = None) -> None:
        """Read the rule from the configuration.

        Ages count back from ``now_epoch_seconds``; without it only lengths are limited.
        """
        self.type = family.type
        self.scans = bool(family.pattern)
        self.kept_end = family.kept_end
        self.max_length = family.max_length
        self.heeds_groups = family.type == "stream" and not family.ignore_groups
        self.age: AgeRule | None = None
        if family.max_age_seconds is not None and now_epoch_seconds is not None:
            self.age = AgeRule(family, now_epoch_seconds - family.max_age_seconds)
        self.length = Packer([LENGTH_COMMANDS[family.type]])
        self._whole = Packer([_TRIM_COMMANDS[family.type]], self._arguments(family.max_length))

    @property
    def look(self) -> tuple[Packer, ...]:
        """What a key is asked: its length, and what is too old in it where ages are limited."""
        return (self.length,) if self.age is None else (self.length, self.age.look)

    def pieces(self, key: bytes, excess: Excess, size: BatchSize) -> Iterable[Piece]:
        """Divide the trim of one key into bounded writes; the last one leaves what is kept.

        Where too many members are too old for one write, there is no last piece: after them
        :meth:`AgeRule.trim_in_steps` does the rest.
        """
        members = excess.length - self.max_length
        if not excess.expired and 0 < members <= min(PIECE_MEMBERS, size.units):
            # What most keys are: a family that is trimmed every day grows by little.
            return (Piece(key, excess, self.max_length, members, first=True, last=True),)
        return self._many_pieces(key, excess, size)

    def _many_pieces(self, key: bytes, excess: Excess, size: BatchSize) -> Iterator[Piece]:
        length, first, in_steps = excess.length, True, self.takes_steps(excess)
        while length > self.max_length or (first and in_steps):
            keep = max(self.max_length, length - min(PIECE_MEMBERS, size.units))
            ends = keep == self.max_length
            members = max(0, length - keep)
            last = ends and not excess.expired
            yield Piece(key, excess, keep, members, first, last, steps_follow=ends and in_steps)
            length, first = min(length, keep), False
        if excess.expired and not in_steps:
            yield Piece(key, excess, None, min(excess.expired, length), first, last=True)

    def takes_steps(self, excess: Excess) -> bool:
        """Whether more members are too old than one write may remove."""
        if self.age is None or not excess.expired:
            return False
        # A Redis stream does not say how many are too old: at most what its length limit leaves.
        most = excess.expired if self.type == "zset" else excess.length
        return min(most, self.max_length) > STEP_MEMBERS

    def trim(self, piece: Piece) -> bytes:
        """Return the packed write of one piece."""
        if piece.keep is None:
            if self.age is None:
                raise ValueError("a family without a maximum age has no pieces by age")
            return self.age.trim.for_key(piece.key)
        if piece.keep == self.max_length:
            return self._whole.for_key(piece.key)
        return pack(_TRIM_COMMANDS[self.type], piece.key, *self._arguments(piece.keep))

    @property
    def statement(self) -> str:
        """The writes as a person would type them."""
        arguments = b" ".join(self._arguments(self.max_length)).decode()
        by_length = f"{_TRIM_COMMANDS[self.type].decode()} <key> {arguments}"
        return by_length if self.age is None else f"{by_length}; {self.age.statement}"

    @property
    def needs_acl(self) -> tuple[str, ...]:
        """The least rights of this family besides those of the look at the server."""
        commands = {LENGTH_COMMANDS[self.type], _TRIM_COMMANDS[self.type]}
        if self.scans:
            commands.add(b"SCAN")
        if self.age is not None:
            commands |= self.age.commands
        rules = {f"+{command.decode().lower()}" for command in commands}
        return tuple(sorted(rules.union(GROUPS_ACL if self.heeds_groups else ())))

    def _arguments(self, keep: int) -> tuple[bytes, ...]:
        """Say "keep ``keep`` members at the kept end"; ranks count from 0, from the end from -1."""
        n = str(keep).encode()
        return {
            "highest": (b"0", b"-%d" % (keep + 1)),
            "lowest": (n, b"-1"),
            "head": (b"0", b"%d" % (keep - 1)),
            "tail": (b"-" + n, b"-1"),
            "newest": (b"MAXLEN", b"=", n),
        }[self.kept_end]


@dataclass(slots=True)
class LengthDistribution:
    """How many keys have which length, in classes relative to the maximum length."""

    max_length: int
    counts: Counter[int] = field(default_factory=Counter)

    def _bounds(self) -> list[int]:
        """Return the first length of each class: quarters, up to the limit, then over it."""
        limit = self.max_length
        quarters = [1, limit // 4 + 1, limit // 2 + 1, 3 * limit // 4 + 1]
        return sorted({*quarters, limit + 1, 2 * limit + 1, 10 * limit + 1, 100 * limit + 1})

    def add(self, lengths: Mapping[int, int]) -> None:
        """Count keys by their length. Zero is a key that vanished, and is not counted."""
        bounds = self._bounds()
        for length, keys in lengths.items():
            if length:
                self.counts[bisect_right(bounds, length)] += keys

    def rows(self, after: "LengthDistribution") -> list[dict[str, Any]]:
        """Return the table of this distribution beside that ``after`` the trim."""
        bounds: list[int | None] = [*self._bounds(), None]
        rows: list[dict[str, Any]] = []
        for number in range(1, len(bounds)):
            first, end = bounds[number - 1], bounds[number]
            rows.append(
                {
                    "from_members": first,
                    "to_members": None if end is None else end - 1,
                    "keys_before": self.counts[number],
                    "keys_after": after.counts[number],
                }
            )
        return [row for row in rows if row["keys_before"] or row["keys_after"]]
