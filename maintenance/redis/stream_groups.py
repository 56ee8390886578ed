"""Consumer groups of Redis streams: a trim takes nothing that one of them has still to work on.

The oldest entries of a stream are those that a group which is behind needs next. What it has not
been given, or has been given and not acknowledged, stays, and is named.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import redis

from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import counted
from maintenance.redis_client.connection import describe_key
from maintenance.redis_client.packed import Exchange, Packer, pack

NEEDS_ACL = ("+xinfo|groups", "+xpending", "+xrange")

#: A step looks at so many entries, with their values, and removes at most as many.
STEP_ENTRIES = 100

_GROUPS = Packer([b"XINFO", b"GROUPS"])
_FIRST_ENTRY = Packer([b"XRANGE"], [b"-", b"+", b"COUNT", b"1"])


class EntryId(NamedTuple):
    """The ID of an entry, in its order."""

    milliseconds: int
    sequence: int

    @classmethod
    def of(cls, text: bytes) -> "EntryId":
        """Read an ID as a server writes it."""
        milliseconds, _, sequence = text.partition(b"-")
        return cls(int(milliseconds), int(sequence or 0))

    @property
    def following(self) -> "EntryId":
        """The ID right after it."""
        return EntryId(self.milliseconds, self.sequence + 1)

    def __bytes__(self) -> bytes:
        return b"%d-%d" % self


@dataclass(frozen=True, slots=True)
class Behind:
    """The group of a stream that is furthest behind: it needs what begins with ``first_needed``.

    ``pending`` entries were given to a consumer and not acknowledged; ``undelivered`` ones to nobody,
    ``None`` where the server does not count them (before Redis 7.0).
    """

    group: bytes
    first_needed: EntryId
    pending: int
    undelivered: int | None

    def __str__(self) -> str:
        unknown = self.undelivered is None
        not_given = "an unknown number" if unknown else f"{self.undelivered:,}"
        return (
            f"group {describe_key(self.group)}: {self.pending:,} pending, {not_given} not delivered"
        )


def furthest_behind(exchange: Exchange, keys: Sequence[bytes]) -> dict[bytes, Behind | Exception]:
    """Return the group that is furthest behind of each stream that has any, or the server's error."""
    found: dict[bytes, Behind | Exception] = {}
    for key, reply in zip(keys, exchange.run(_GROUPS.for_keys(keys)), strict=True):
        if isinstance(reply, Exception):
            if "no such key" not in str(reply):
                found[key] = reply
        elif reply:
            found[key] = _furthest(exchange, key, [_fields(group) for group in reply])
    return found


def _fields(group: Sequence[Any]) -> dict[bytes, Any]:
    return dict(zip(group[::2], group[1::2], strict=True))


def _furthest(
    exchange: Exchange, key: bytes, groups: Sequence[Mapping[bytes, Any]]
) -> Behind | Exception:
    (first,) = exchange.run([_FIRST_ENTRY.for_key(key)])
    if isinstance(first, Exception):
        return first
    # What is pending may have been removed long ago: only what is there can be lost.
    start = first[0][0] if first else b"-"
    pending = exchange.run(
        [pack(b"XPENDING", key, group[b"name"], start, b"+", b"1") for group in groups]
    )
    found: list[Behind] = []
    for group, reply in zip(groups, pending, strict=True):
        if isinstance(reply, redis.ResponseError) and str(reply).startswith("NOGROUP"):
            continue  # it was destroyed meanwhile
        if isinstance(reply, Exception):
            return reply
        needed = EntryId.of(group[b"last-delivered-id"]).following
        if reply:
            needed = min(needed, EntryId.of(reply[0][0]))
        found.append(Behind(group[b"name"], needed, group[b"pending"], group.get(b"lag")))
    nobody = Behind(b"", EntryId(2**64 - 1, 2**64 - 1), 0, 0)
    return min(found, key=lambda behind: behind.first_needed, default=nobody)


@dataclass(slots=True)
class GroupedTrim:
    """One stream with groups, from its oldest entry on, down to ``max_length`` entries.

    Entries before ``cutoff`` are too old, where ages are limited. After :meth:`steps`, ``held`` says
    how many entries stay though they are too many (one for any that are only too old).
    """

    key: bytes
    behind: Behind
    max_length: int
    cutoff: EntryId | None
    may_write: bool
    held: int = 0

    def steps(self, exchange: Exchange) -> Iterator[Any]:
        """Remove what no group needs, a step at a time; yield the replies of the writes.

        A write names the last entry that goes and not how many stay: whatever is added meanwhile, no
        entry goes that was not looked at. How many are too many is asked at each step, after the entries:
        of those that somebody else removes in between none is counted, and the newest always stay. Where a
        group is new, or was set back, what it needs is asked anew.
        """
        start, passed = b"-", 0
        while True:
            needed = b"(%b" % bytes(self.behind.first_needed)
            look = pack(b"XRANGE", self.key, start, needed, b"COUNT", b"%d" % STEP_ENTRIES)
            replies = exchange.run([look, pack(b"XLEN", self.key)])
            failed = next((reply for reply in replies if isinstance(reply, Exception)), None)
            if failed is not None:
                yield failed
                return
            entries, length = replies
            over = length - self.max_length - passed
            going = self._too_much([EntryId.of(entry[0]) for entry in entries], over)
            if not going:
                break
            behind = furthest_behind(exchange, [self.key]).get(self.key)
            if isinstance(behind, Exception):
                yield behind
                return
            if behind is not None and behind.first_needed < self.behind.first_needed:
                self.behind = behind
                continue
            if self.may_write:
                end = bytes(going[-1].following)
                (reply,) = exchange.run([pack(b"XTRIM", self.key, b"MINID", b"=", end)])
                yield reply
                if isinstance(reply, Exception):
                    return
            else:
                passed += len(going)  # they are there yet
            start = b"(%b" % bytes(going[-1])
        self.held = max(over, self._old_and_needed(exchange))

    def _too_much(self, ids: Sequence[EntryId], over: int) -> Sequence[EntryId]:
        old = sum(one < self.cutoff for one in ids) if self.cutoff else 0
        return ids[: max(over, old, 0)]

    def _old_and_needed(self, exchange: Exchange) -> int:
        if self.cutoff is None or self.behind.first_needed >= self.cutoff:
            return 0
        first, end = bytes(self.behind.first_needed), b"(%b" % bytes(self.cutoff)
        (found,) = exchange.run([pack(b"XRANGE", self.key, first, end, b"COUNT", b"1")])
        return 0 if isinstance(found, Exception) else len(found)


def held(streams: int, entries: int, by_key: Mapping[bytes, Behind], family: str) -> Finding:
    """Name streams of a family that stay over their limits for a group; ``by_key`` gives some."""
    examples = {describe_key(key): str(behind) for key, behind in by_key.items()}
    named = "; ".join(f"{key} ({behind})" for key, behind in examples.items())
    return Finding(
        code="stream-groups-behind",
        severity=Severity.WARNING,
        subject=family,
        sentence=(
            f"{counted(streams, 'stream')} of {family} {'stays' if streams == 1 else 'stay'} over the"
            f" limits by at least {entries:,} {'entry' if entries == 1 else 'entries'}, which consumer"
            f" groups have not been given or not acknowledged: {named}."
        ),
        evidence={"keys": streams, "entries": entries, "examples": examples},
        advice=(
            "See why the consumers do not keep up. XGROUP DESTROY removes a group that nobody reads by"
            " any more; ignore_groups = true of this family cuts what groups still need."
        ),
    )
