"""A bounded look at the keys of one cache: how many of each prefix, how large, how long they stay.

A small database is walked whole, of a larger one keys are drawn by RANDOMKEY, each as likely as any
other. Cost: at most :data:`SAMPLE_KEYS` keys and four small commands for each, whatever the size.
"""

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field

import redis

from maintenance.caching.strategy import StoredKeys
from maintenance.core.job import Progress
from maintenance.redis_client.packed import Exchange, Packer, exchange, pack, raise_first_error

SAMPLE_KEYS = 5000
#: Keys of one batch: half a millisecond of the server's time with their looks.
BATCH_KEYS = 100
#: Fewer sampled keys of a prefix support no estimate of how many there are.
FEWEST_SAMPLED = 5

NEEDS_ACL = ("+scan", "+dbsize", "+randomkey", "+ttl", "+memory|usage")

_TTL = Packer([b"TTL"])
_MEMORY_USAGE = Packer([b"MEMORY", b"USAGE"])
_RANDOMKEY = pack(b"RANDOMKEY")


@dataclass(slots=True)
class _Group:
    keys: int = 0
    sizes: list[int] = field(default_factory=list)
    without_ttl: int = 0


@dataclass(slots=True)
class CacheSample:
    """Sampled keys by prefix. ``is_whole`` is whether these are all of the database."""

    is_whole: bool
    database_keys: int
    looked_at: int = 0
    memory_denied: bool = False
    groups: dict[str, _Group] = field(default_factory=lambda: defaultdict(_Group))

    def stored(self, prefix: str) -> StoredKeys | None:
        """Return what the sample says of a prefix; ``None`` where it met too few keys of it."""
        group = self.groups.get(prefix)
        if group is None or group.keys < (1 if self.is_whole else FEWEST_SAMPLED):
            return None
        scale = 1.0 if self.is_whole else self.database_keys / self.looked_at
        mean_bytes = sum(group.sizes) / len(group.sizes) if group.sizes else None
        return StoredKeys(
            sampled_keys=group.keys,
            keys=round(group.keys * scale),
            size_bytes=None if mean_bytes is None else round(mean_bytes * group.keys * scale),
            keys_without_ttl_ratio=group.without_ttl / group.keys,
        )


def take_sample(
    client: redis.Redis, head: bytes, rule: Callable[[str], str], progress: Progress
) -> CacheSample:
    """Sample the keys that begin with ``head`` and group them by ``rule``. Raises redis-py's errors."""
    with exchange(client) as wire:
        (total,) = wire.run([pack(b"DBSIZE")])
        raise_first_error([total])
        sample = CacheSample(is_whole=total <= SAMPLE_KEYS, database_keys=total)
        for keys in _walked(wire) if sample.is_whole else _drawn(wire):
            progress.update(
                sample.looked_at, min(total, SAMPLE_KEYS), phase="sampling", unit="keys"
            )
            sample.looked_at += len(keys)
            _look(wire, [key for key in keys if key.startswith(head)], head, rule, sample)
    return sample


def _walked(wire: Exchange) -> Iterator[Sequence[bytes]]:
    cursor, seen = b"0", set[bytes]()
    while True:
        (reply,) = wire.run([pack(b"SCAN", cursor, b"COUNT", b"%d" % BATCH_KEYS)])
        raise_first_error([reply])
        cursor, keys = reply
        yield [key for key in dict.fromkeys(keys) if key not in seen]
        seen.update(keys)
        if cursor == b"0":
            return


def _drawn(wire: Exchange) -> Iterator[Sequence[bytes]]:
    """Draw with replacement: what comes twice counts twice, as shares are estimated so."""
    for _ in range(SAMPLE_KEYS // BATCH_KEYS):
        replies = wire.run([_RANDOMKEY] * BATCH_KEYS)
        raise_first_error(replies)
        yield [key for key in replies if key is not None]


def _look(
    wire: Exchange,
    keys: Sequence[bytes],
    head: bytes,
    rule: Callable[[str], str],
    sample: CacheSample,
) -> None:
    ttls = wire.run(_TTL.for_keys(keys))
    raise_first_error(ttls)
    sizes: Iterable[object] = [None] * len(keys)
    if not sample.memory_denied:
        sizes = wire.run(_MEMORY_USAGE.for_keys(keys))
        sample.memory_denied = any(isinstance(size, Exception) for size in sizes)
    for key, ttl, size in zip(keys, ttls, sizes, strict=True):
        if ttl == -2:  # expired since
            continue
        group = sample.groups[rule(key[len(head) :].decode("utf-8", "backslashreplace"))]
        group.keys += 1
        group.without_ttl += ttl == -1
        if isinstance(size, int):
            group.sizes.append(size)
