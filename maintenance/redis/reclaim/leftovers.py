"""Keys that a rule of the target calls left over: removed, or given a time to live.

Only what the configuration names is touched, nothing is guessed. Each write is guarded: a key that
somebody used or wrote to since it was looked at is left alone.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any
from zlib import crc32

import redis

from maintenance.core.job import Progress
from maintenance.redis.key_shapes import shortened
from maintenance.redis.pages import Looks, page_size, scanned
from maintenance.redis.reclaim.guard import NEEDS_ACL as GUARD_NEEDS_ACL
from maintenance.redis.reclaim.guard import GuardedWrite, write_guarded
from maintenance.redis.reclaim.pace import Pace
from maintenance.redis_client.batch_size import BatchSize
from maintenance.redis_client.globs import escape_glob
from maintenance.redis_client.packed import Exchange, Packer, pack
from maintenance.redis_client.server import ServerFacts

NEEDS_ACL = (*GUARD_NEEDS_ACL, "+scan", "+memory|usage", "+ttl", "+time")

LARGEST_PAGE_KEYS = 1000
FIRST_BATCH_KEYS = 32
LARGEST_BATCH_KEYS = 256
#: How many keys a report names of each rule; the counts are of all.
NAMED_KEYS = 10
#: Times to live are spread by so much, so that keys which get theirs together do not expire so.
SPREAD_RATIO = 0.1

_TTL = Packer([b"TTL"])
_IDLE_TIME = Packer([b"OBJECT", b"IDLETIME"])
_MEMORY_USAGE = Packer([b"MEMORY", b"USAGE"])
_NO_TIME_TO_LIVE = -1


class LeftoverRule(ABC):
    """One rule: which keys under a prefix are meant, and what is done to them."""

    #: What is done, as an operator would say it.
    verb: str

    def __init__(self, prefix: str) -> None:
        """Mean keys that begin with ``prefix``, literally."""
        self.prefix = prefix

    @property
    def pattern(self) -> bytes:
        """The glob of the prefix."""
        return f"{escape_glob(self.prefix)}*".encode()

    @property
    @abstractmethod
    def statement(self) -> str:
        """The write as a person would type it."""

    @property
    @abstractmethod
    def undo(self) -> str:
        """What takes it back; empty where nothing does."""

    @property
    @abstractmethod
    def needs_acl(self) -> tuple[str, ...]:
        """The rights beside :data:`NEEDS_ACL`."""

    @abstractmethod
    def look(self) -> Packer:
        """Return the command whose reply decides."""

    @abstractmethod
    def means(self, reply: Any) -> bool:
        """Return whether a key of this reply is left over."""

    @abstractmethod
    def write(self, key: bytes) -> bytes:
        """Return the packed write."""


class AbandonedPrefix(LeftoverRule):
    """Keys that nobody has used for ``minimum_idle_seconds`` are removed, by UNLINK."""

    verb = "removed"

    def __init__(self, prefix: str, minimum_idle_seconds: float) -> None:
        """Take the rule of the target."""
        super().__init__(prefix)
        self.minimum_idle_seconds = minimum_idle_seconds

    @property
    def statement(self) -> str:
        return "UNLINK <key>"

    @property
    def undo(self) -> str:
        return ""

    @property
    def needs_acl(self) -> tuple[str, ...]:
        return "+object|idletime", "+unlink"

    def look(self) -> Packer:
        return _IDLE_TIME if self.minimum_idle_seconds else _TTL

    def means(self, reply: Any) -> bool:
        if not isinstance(reply, int):
            return False
        return reply >= self.minimum_idle_seconds if self.minimum_idle_seconds else reply != -2

    def write(self, key: bytes) -> bytes:
        return pack(b"UNLINK", key)


class TimeOut(LeftoverRule):
    """Keys without a time to live get one of ``seconds`` from now, or up to a tenth more."""

    verb = "given a time to live"

    def __init__(self, prefix: str, seconds: int) -> None:
        """Take the rule of the target."""
        super().__init__(prefix)
        self.seconds = seconds

    @property
    def statement(self) -> str:
        return f"EXPIRE <key> {self.seconds}"

    @property
    def undo(self) -> str:
        return "PERSIST <key>"

    @property
    def needs_acl(self) -> tuple[str, ...]:
        return ("+expire",)

    def look(self) -> Packer:
        return _TTL

    def means(self, reply: Any) -> bool:
        return bool(reply == _NO_TIME_TO_LIVE)

    def write(self, key: bytes) -> bytes:
        spread = self.seconds * SPREAD_RATIO * (crc32(key) / 2**32)
        return pack(b"EXPIRE", key, b"%d" % (self.seconds + int(spread)))


@dataclass(slots=True)
class LeftoverTally:
    """Counts of one rule. ``meant_bytes`` is MEMORY USAGE of the keys that are meant."""

    rule: LeftoverRule
    keys_seen: int = 0
    spared: int = 0
    meant: int = 0
    meant_bytes: int = 0
    written: int = 0
    written_bytes: int = 0
    changed: int = 0
    contested: int = 0
    examples: list[str] = field(default_factory=list)


class Leftovers:
    """One run of one rule over the keys of its prefix."""

    def __init__(
        self,
        looks: Looks,
        writes: Exchange,
        server: ServerFacts,
        rule: LeftoverRule,
        *,
        spared: Callable[[bytes], bool],
        pace: Pace,
        may_write: bool,
    ) -> None:
        """Use ``looks`` and ``writes`` for nothing else meanwhile; ``spared`` keys are left alone."""
        self._looks = looks
        self._writes = writes
        self._server = server
        self._rule = rule
        self._spared = spared
        self._pace = pace
        self._may_write = may_write
        most = 1 if server.cluster_enabled else LARGEST_BATCH_KEYS
        self._size = BatchSize(FIRST_BATCH_KEYS, smallest=1, largest=most)
        self.tally = LeftoverTally(rule)

    def run(self, progress: Progress) -> LeftoverTally:
        """Look at every key of the prefix, and write to those that are meant.

        Raises the server's errors, and what ``progress`` raises.
        """
        size = page_size(LARGEST_PAGE_KEYS)
        walked = 0
        look = [self._rule.look(), _MEMORY_USAGE]
        for keys, (replies, usages) in scanned(self._looks, self._rule.pattern, look, size):
            walked += size.units
            total = max(self._server.keys, walked)
            progress.update(walked, total, phase=f"keys of {self._rule.prefix}", unit="keys")
            for reply in (*replies, *usages):
                if isinstance(reply, redis.exceptions.NoPermissionError):
                    raise reply
            self._take_page(keys, replies, usages)
        return self.tally

    def _take_page(self, keys: Sequence[bytes], replies: list[Any], usages: list[Any]) -> None:
        tally, sizes = self.tally, dict(zip(keys, usages, strict=True))
        tally.keys_seen += len(sizes)
        meant = {k: True for k, r in zip(keys, replies, strict=True) if self._rule.means(r)}
        kept = [key for key in meant if not self._spared(key)]
        tally.spared += len(meant) - len(kept)
        tally.meant += len(kept)
        tally.meant_bytes += sum(sizes[key] or 0 for key in kept)
        tally.examples += [shortened(k) for k in kept[: NAMED_KEYS - len(tally.examples)]]
        if not (self._may_write and kept):
            return
        guarded = GuardedWrite(lambda key: [self._rule.look().for_key(key)], self._decide)
        for done in write_guarded(self._writes, kept, guarded, self._size):
            tally.written += len(done.replies)
            tally.written_bytes += sum(sizes[key] or 0 for key in done.replies)
            tally.changed += len(done.left_alone) + len(done.moved)
            tally.contested += len(done.contested)
            self._pace.wrote(len(done.replies))

    def _decide(self, key: bytes, replies: list[Any]) -> list[bytes]:
        return [self._rule.write(key)] if self._rule.means(replies[0]) else []
