"""The rule of a stream family as commands: how long is a key, and what keeps it at its length.

Every write restates the rule ("keep the N at this end") instead of naming what a look saw before:
whatever other clients write between the look and the trim, a trim never removes a member that the
rule keeps.
"""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

from maintenance.conf import StreamFamily
from maintenance.redis_client.packed import Packer, pack

#: One command removes at most this many members (measured: one call that removes a million
#: stalls every client for 0.4 s, pieces of 1,000 for a few milliseconds).
PIECE_MEMBERS = 1000

_LENGTH_COMMANDS = {"zset": b"ZCARD", "list": b"LLEN", "stream": b"XLEN"}
_TRIM_COMMANDS = {"zset": b"ZREMRANGEBYRANK", "list": b"LTRIM", "stream": b"XTRIM"}


@dataclass(frozen=True, slots=True)
class Piece:
    """One bounded write: after it, ``keep`` members of ``key`` remain at the kept end."""

    key: bytes
    keep: int
    members: int  # how many it removes, by the look before
    last: bool


def pieces(key: bytes, length: int, max_length: int) -> Iterator[Piece]:
    """Divide the trim of one key into bounded writes; the last one leaves ``max_length``."""
    while length > max_length:
        keep = max(max_length, length - PIECE_MEMBERS)
        yield Piece(key, keep, length - keep, keep == max_length)
        length = keep


def batches(
    lengths: Mapping[bytes, int], max_length: int, budget_members: int
) -> Iterator[list[Piece]]:
    """Group the pieces of many keys so that one batch removes about ``budget_members``.

    The server answers one client's batch as a whole before it turns to the next client: the
    budget is what others wait for.
    """
    batch: list[Piece] = []
    members = 0
    for key, length in lengths.items():
        for piece in pieces(key, length, max_length):
            if batch and members + piece.members > budget_members:
                yield batch
                batch, members = [], 0
            batch.append(piece)
            members += piece.members
    if batch:
        yield batch


class TrimRule:
    """The commands of one stream family."""

    def __init__(self, family: StreamFamily) -> None:
        """Read type, kept end and maximum length from the configuration."""
        self.type = family.type
        self.kept_end = family.kept_end
        self.max_length = family.max_length
        self.look = Packer([_LENGTH_COMMANDS[family.type]])
        self._whole = Packer([_TRIM_COMMANDS[family.type]], self._arguments(family.max_length))

    def trim(self, piece: Piece) -> bytes:
        """Return the packed write of one piece."""
        if piece.last:
            return self._whole.for_key(piece.key)
        return pack(_TRIM_COMMANDS[self.type], piece.key, *self._arguments(piece.keep))

    @property
    def statement(self) -> str:
        """The write as a person would type it."""
        arguments = b" ".join(self._arguments(self.max_length)).decode()
        return f"{_TRIM_COMMANDS[self.type].decode()} <key> {arguments}"

    @property
    def needs_acl(self) -> tuple[str, ...]:
        """The least rights of this family besides those of the look at the server."""
        return (
            "+scan",
            f"+{_LENGTH_COMMANDS[self.type].decode().lower()}",
            f"+{_TRIM_COMMANDS[self.type].decode().lower()}",
        )

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

    def add(self, lengths: Iterable[int]) -> None:
        """Count ``lengths``. Zero is a key that vanished, and is not counted."""
        bounds = self._bounds()
        for length, keys in Counter(lengths).items():
            if length:
                self.counts[bisect_right(bounds, length)] += keys

    def rows(self, after: "LengthDistribution") -> list[dict[str, int | str | None]]:
        """Return the table of this distribution beside that ``after`` the trim."""
        bounds: list[int | None] = [*self._bounds(), None]
        rows: list[dict[str, int | str | None]] = []
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
