"""The site's streams in Redis: home timelines, recently viewed lists, event logs."""

import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from service.sample_site.keyspace import command
from service.sample_site.shape import Shape
from service.sample_site.truth import Decoy, Fault, FaultKind

_OVER_LENGTH_SHARE: Final = 10
"""One stream in so many is over length."""

_FULL_SHARE: Final = 200
"""One stream in so many is exactly at its limit, and so healthy."""

# Keys that match the pattern of the home streams and are of another type.
_WRONG_TYPES: Final[Mapping[str, tuple[str, bytes]]] = {
    "legacy-home": ("list", command("RPUSH", "legacy-home", 101, 102, 103)),
    "welcome-home": ("string", command("SET", "welcome-home", "Willkommen in der Bücherei")),
    "template-home": ("hash", command("HSET", "template-home", "layout", "two-columns")),
}


@dataclass(frozen=True)
class PublishedStatus:
    """A status as the streams know it; the date is in seconds of the epoch."""

    status_id: int
    published_epoch: int


@dataclass(frozen=True)
class Family:
    """One family of streams, its limit, and the length chosen for each of its keys."""

    pattern: str
    redis_type: str
    limit: int
    lengths: Mapping[str, int]

    def fault(self) -> Fault:
        over = {key: length for key, length in self.lengths.items() if length > self.limit}
        longest = max(over, key=lambda key: over[key])
        return Fault(
            FaultKind.OVER_LENGTH_STREAM,
            self.pattern,
            "Nobody writes to these streams any more, so nothing cuts them at their limit.",
            expected={
                "type": self.redis_type,
                "limit": self.limit,
                "keys": len(self.lengths),
                "over_length_keys": len(over),
                "members": sum(self.lengths.values()),
                "members_over_limit": sum(over.values()) - len(over) * self.limit,
                "longest_key": longest,
                "longest_members": over[longest],
            },
        )


@dataclass(frozen=True)
class Streams:
    """Everything that a build writes to the stream families."""

    home: Family
    recently_viewed: Family
    events: Family

    def faults(self) -> list[Fault]:
        return [family.fault() for family in (self.home, self.recently_viewed, self.events)]

    def decoys(self) -> list[Decoy]:
        wrong_types = [
            Decoy(
                FaultKind.OVER_LENGTH_STREAM,
                key,
                f"A {redis_type} whose key matches {self.home.pattern}: it must be skipped, not trimmed.",
            )
            for key, (redis_type, _) in _WRONG_TYPES.items()
        ]
        full = [
            Decoy(
                FaultKind.OVER_LENGTH_STREAM,
                key,
                f"Exactly {family.limit} members: at the limit, not over it.",
            )
            for family in (self.home, self.recently_viewed, self.events)
            for key, length in family.lengths.items()
            if length == family.limit
        ]
        return wrong_types + full

    def command_count(self) -> int:
        return (
            len(self.home.lengths) * 3
            + len(self.recently_viewed.lengths)
            + sum(self.events.lengths.values())
            + len(_WRONG_TYPES)
        )

    def commands(self, statuses: Sequence[PublishedStatus], seed: int) -> Iterator[bytes]:
        """The commands that fill all families; `statuses` are the newest, oldest first."""
        choose = random.Random(seed)  # noqa: S311 - repeatable choices, nothing secret
        yield from (packed for _, packed in _WRONG_TYPES.values())
        yield from _home_commands(self.home, statuses, choose)
        yield from _recently_viewed_commands(self.recently_viewed, choose)
        yield from _event_commands(self.events, statuses, choose)


def plan_streams(shape: Shape) -> Streams:
    """Choose the keys of each family and their lengths from the shape's seed."""
    choose = random.Random(shape.seed)  # noqa: S311 - repeatable choices, nothing secret
    users = range(1, shape.users + 1)
    viewers = range(1, shape.recent_view_lists + 1)
    logs = range(1, shape.event_streams + 1)
    return Streams(
        home=Family(
            "*-home",
            "zset",
            200,
            _lengths(choose, [f"{user}-home" for user in users], 200, (20, 60)),
        ),
        recently_viewed=Family(
            "recently-viewed:*",
            "list",
            100,
            _lengths(choose, [f"recently-viewed:{user}" for user in viewers], 100, (5, 40)),
        ),
        events=Family(
            "events:*",
            "stream",
            100,
            _lengths(choose, [f"events:{number}" for number in logs], 100, (10, 30)),
        ),
    )


def _lengths(
    choose: random.Random, keys: Sequence[str], limit: int, usual: tuple[int, int]
) -> dict[str, int]:
    """Lengths of a family: most are usual, a tenth is up to twice the limit, some are at it."""
    over_count, full_count = len(keys) // _OVER_LENGTH_SHARE, max(1, len(keys) // _FULL_SHARE)
    special = choose.sample(keys, over_count + full_count)
    over, full = set(special[:over_count]), set(special[over_count:])
    lengths = {}
    for key in keys:
        if key in over:
            lengths[key] = choose.randint(limit + 1, 2 * limit)
        else:
            lengths[key] = limit if key in full else choose.randint(*usual)
    return lengths


def _home_commands(
    family: Family, statuses: Sequence[PublishedStatus], choose: random.Random
) -> Iterator[bytes]:
    """A timeline is every n-th status of a stretch of the site's, scored by its date.

    Scores and members are packed once and then only joined: a million members take no longer
    than their bytes.
    """
    packed = [
        b"$%d\r\n%d\r\n$%d\r\n%d\r\n"
        % (len(str(s.published_epoch)), s.published_epoch, len(str(s.status_id)), s.status_id)
        for s in statuses
    ]
    for key, length in family.lengths.items():
        stride = choose.randint(1, 3)
        start = choose.randrange(len(packed) - length * stride)
        members = packed[start : start + length * stride : stride]
        yield b"*%d\r\n$4\r\nZADD\r\n$%d\r\n%b\r\n%b" % (
            2 + 2 * length,
            len(key),
            key.encode(),
            b"".join(members),
        )
        unread = choose.randrange(length)
        yield command("SET", f"{key}-unread", unread)
        yield command(
            "HSET", f"{key}-unread-by-type", "comment", unread // 2, "review", unread - unread // 2
        )


def _recently_viewed_commands(family: Family, choose: random.Random) -> Iterator[bytes]:
    for key, length in family.lengths.items():
        first = choose.randint(1, 1_000)
        yield command("LPUSH", key, *range(first, first + length))


def _event_commands(
    family: Family, statuses: Sequence[PublishedStatus], choose: random.Random
) -> Iterator[bytes]:
    """Entries carry identifiers of their own, so that each build writes the same ones."""
    for key, length in family.lengths.items():
        start = choose.randrange(len(statuses) - length)
        for status in statuses[start : start + length]:
            entry = f"{status.published_epoch * 1000}-{status.status_id}"
            yield command("XADD", key, entry, "type", "Create", "status", status.status_id)
