"""Values written anew, as they are, so that the server stores them in a compact encoding.

A server never makes a value compact again that once grew past the limits, nor one that was written
before the limits were raised (Redis documentation, "Memory optimization"). DUMP and RESTORE ...
REPLACE of a key does that. It happens in a transaction that the server drops if anybody wrote to the
key since it was read, with the time of expiry and the idle time (under LFU the counter) restored.
Killed at any moment, it leaves a key as it was or repacked, never in between.

The cost is a look at every key of the database, and reading and writing once what is repacked.
"""

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from maintenance.core.job import Progress
from maintenance.redis.key_shapes import shape_of
from maintenance.redis.pages import Looks, page_size, scanned
from maintenance.redis.reclaim.compact import Limits, is_whole_number
from maintenance.redis.reclaim.expiry import ExpiryLook
from maintenance.redis.reclaim.guard import NEEDS_ACL as GUARD_NEEDS_ACL
from maintenance.redis.reclaim.guard import GuardedWrite, write_guarded
from maintenance.redis.reclaim.pace import Pace
from maintenance.redis_client.batch_size import BatchSize
from maintenance.redis_client.packed import Exchange, Packer, pack, touch_nothing
from maintenance.redis_client.server import ServerFacts

NEEDS_ACL = (
    *GUARD_NEEDS_ACL,
    "+config|get",
    "+dump",
    "+hlen",
    "+memory|usage",
    "+object|encoding",
    "+object|freq",
    "+object|idletime",
    "+restore",
    "+scan",
    "+scard",
    "+srandmember",
    "+time",
    "+zcard",
)

#: Encodings that a compact one could take the place of, as OBJECT ENCODING names them.
LOOSE_ENCODINGS = frozenset({b"skiplist", b"hashtable"})

#: A value is not read whose members cannot all be short: more than the limit and what a hash table
#: takes for each of them.
OVERHEAD_PER_MEMBER_BYTES = 250
#: A kind of key of which so many were rewritten and none became compact is left alone from then on:
#: its members are longer than the limit.
FRUITLESS = 5

LARGEST_PAGE_KEYS = 1000
FIRST_BATCH_KEYS = 8
LARGEST_BATCH_KEYS = 64

_ENCODING = Packer([b"OBJECT", b"ENCODING"])
_MEMORY_USAGE = Packer([b"MEMORY", b"USAGE"])
_LENGTHS = {
    "zset": Packer([b"ZCARD"]),
    "hash": Packer([b"HLEN"]),
    "set": Packer([b"SCARD"]),
}
_ONE_MEMBER = Packer([b"SRANDMEMBER"])


@dataclass(slots=True)
class RepackTally:
    """Counts of one run. ``candidates`` fit the limits and are not compact; sizes are MEMORY USAGE.

    ``before_bytes`` and ``after_bytes`` are of the ``repacked`` keys only.
    """

    keys_seen: int = 0
    spared: int = 0
    candidates: int = 0
    candidate_bytes: int = 0
    repacked: int = 0
    fruitless: int = 0
    contested: int = 0
    vanished: int = 0
    moved: int = 0
    before_bytes: int = 0
    after_bytes: int = 0
    duration_seconds: float = 0.0
    longest_batch_seconds: float = 0.0
    by_shape: Counter[str] = field(default_factory=Counter)

    @property
    def freed_bytes(self) -> int:
        """What the repacked keys take less than before."""
        return self.before_bytes - self.after_bytes


class Repack:
    """One run over the keys of a database."""

    def __init__(
        self,
        looks: Looks,
        writes: Exchange,
        server: ServerFacts,
        limits: Mapping[str, Limits],
        *,
        spared: Callable[[bytes], bool],
        pace: Pace,
        may_write: bool,
    ) -> None:
        """Use ``looks`` and ``writes`` for nothing else meanwhile; ``spared`` keys are left alone."""
        self._looks = looks
        self._writes = writes
        self._limits = limits
        self._spared = spared
        self._pace = pace
        self._may_write = may_write
        self._server = server
        self._expiry = ExpiryLook.of(server)
        self._usage: dict[bytes, int] = {}
        self._rewritten: Counter[str] = Counter()
        self._gained: Counter[str] = Counter()
        is_lfu = server.is_lfu
        self._use = b"FREQ" if is_lfu else b"IDLETIME"
        self._used: dict[bytes, int] = {}
        # In a cluster a transaction stays in one slot.
        most = 1 if server.cluster_enabled else LARGEST_BATCH_KEYS
        self._size = BatchSize(FIRST_BATCH_KEYS, smallest=1, largest=most)
        self.tally = RepackTally()

    def run(self, progress: Progress) -> RepackTally:
        """Look at every key, and rewrite those that become smaller by it.

        Raises the server's errors, and what ``progress`` raises.
        """
        started = time.perf_counter()
        size = page_size(LARGEST_PAGE_KEYS)
        walked = 0
        # What a key was used is asked first: some looks that follow count as a use.
        look = [_ENCODING, Packer([b"OBJECT", self._use])]
        touch_nothing(self._writes)
        for keys, (encodings, uses) in scanned(self._looks, b"*", look, size):
            walked += size.units
            total = max(self._server.keys, walked)
            progress.update(walked, total, phase="repacking", unit="keys")
            self._take_page(keys, encodings, uses)
        self.tally.duration_seconds = time.perf_counter() - started
        self.tally.longest_batch_seconds = max(size.longest_seconds, self._size.longest_seconds)
        return self.tally

    def _take_page(
        self, keys: Sequence[bytes], encodings: Sequence[Any], uses: Sequence[Any]
    ) -> None:
        self.tally.keys_seen += len(keys)
        loose: list[bytes] = []
        self._used = {}
        for key, encoding, use in zip(keys, encodings, uses, strict=True):
            if isinstance(encoding, redis.exceptions.NoPermissionError):
                raise encoding
            if encoding in LOOSE_ENCODINGS and use is not None:
                if isinstance(use, Exception):
                    raise use
                loose.append(key)
                self._used[key] = use
        kept = [key for key in loose if not self._spared(key)]
        self.tally.spared += len(loose) - len(kept)
        candidates = self._candidates(kept)
        self.tally.candidates += len(candidates)
        self.tally.candidate_bytes += sum(self._usage.values())
        for key in candidates:
            self.tally.by_shape[shape_of(key)] += 1
        if self._may_write and candidates:
            self._rewrite(candidates)

    def _candidates(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return the keys that fit the limits, and note what they take."""
        self._usage = {}
        packers = (*_LENGTHS.values(), _ONE_MEMBER, _MEMORY_USAGE)
        replies = self._writes.run([p for packer in packers for p in packer.for_keys(keys)])
        columns = [replies[n * len(keys) : (n + 1) * len(keys)] for n in range(len(packers))]
        for key, *lengths, member, usage in zip(keys, *columns, strict=True):
            for reply in (*lengths, member, usage):
                if isinstance(reply, redis.exceptions.NoPermissionError):
                    raise reply
            if usage is not None and self._fits(lengths, member, usage):
                self._usage[key] = usage
        return list(self._usage)

    def _fits(self, lengths: Sequence[Any], member: Any, usage: int) -> bool:
        """Judge by the one length that is no WRONGTYPE."""
        for kind, length in zip(_LENGTHS, lengths, strict=True):
            if isinstance(length, int):
                limits = self._limits[kind]
                numbers = kind == "set" and isinstance(member, bytes) and is_whole_number(member)
                per_member = limits.value_bytes * (2 if kind == "hash" else 1)
                most = length * (per_member + OVERHEAD_PER_MEMBER_BYTES) + 4096
                return usage <= most and limits.hold(length, 0, whole_numbers=numbers)
        return False

    def _rewrite(self, candidates: Sequence[bytes]) -> None:
        """Rewrite a few keys of each new kind first, and the others if those became compact."""
        first, others = self._tasters(candidates)
        self._rewrite_keys(first)
        hopeful = [key for key in others if self._gained[shape_of(key)]]
        self.tally.fruitless += len(others) - len(hopeful)
        self._rewrite_keys(hopeful)

    def _tasters(self, candidates: Sequence[bytes]) -> tuple[list[bytes], list[bytes]]:
        """Divide into keys whose kind has to show what a rewrite does, and the others."""
        first: list[bytes] = []
        others: list[bytes] = []
        tasted = Counter(self._rewritten)
        for key in candidates:
            shape = shape_of(key)
            is_open = not self._gained[shape] and tasted[shape] < FRUITLESS
            tasted[shape] += is_open
            (first if is_open else others).append(key)
        return first, others

    def _rewrite_keys(self, keys: Sequence[bytes]) -> None:
        write = GuardedWrite(self._look, self._decide)
        for done in write_guarded(self._writes, keys, write, self._size):
            for key, replies in done.replies.items():
                self._take_rewritten(key, replies)
            self.tally.vanished += len(done.left_alone)
            self.tally.contested += len(done.contested)
            self.tally.moved += len(done.moved)
            self._pace.wrote(len(done.replies))

    def _look(self, key: bytes) -> list[bytes]:
        return [*self._expiry.commands(key), pack(b"DUMP", key)]

    def _decide(self, key: bytes, replies: list[Any]) -> list[bytes]:
        expires_at = self._expiry.read(replies[:-1])
        payload = replies[-1]
        if isinstance(payload, Exception):
            raise payload
        if expires_at is None or payload is None:
            return []
        used = self._used[key]
        longest = self._expiry.longest_idle_seconds(replies)
        if self._use == b"IDLETIME" and longest is not None:
            used = min(used, longest)
        use = (self._use, b"%d" % used)
        return [
            pack(b"RESTORE", key, b"%d" % expires_at, payload, b"REPLACE", b"ABSTTL", *use),
            _ENCODING.for_key(key),
            _MEMORY_USAGE.for_key(key),
        ]

    def _take_rewritten(self, key: bytes, replies: Sequence[Any]) -> None:
        _, encoding, usage = replies
        shape = shape_of(key)
        self._rewritten[shape] += 1
        if encoding in LOOSE_ENCODINGS or usage is None:
            self.tally.fruitless += 1
            return
        self._gained[shape] += 1
        self.tally.repacked += 1
        self.tally.before_bytes += self._usage[key]
        self.tally.after_bytes += usage
