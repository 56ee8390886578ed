"""A bounded look at a server's keys, and what it says of all of them.

A server with no more keys than the sample is walked by SCAN, and nothing is estimated. From a
larger one keys are drawn by RANDOMKEY, each as likely as any other, so that a look at a hundred
million keys costs what one at ten thousand does: a handful of commands a key, packed, in batches.
None of them counts as a use of the key.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import redis

from maintenance.core.job import Progress, SilentProgress
from maintenance.redis.key_shapes import common_shapes, shape_of, shortened
from maintenance.redis_client.packed import Exchange, Packer, pack

#: Keys of one batch: with their looks half a millisecond of the server's time.
BATCH_KEYS = 100
#: The most that a look may be asked for: what is known of each takes about 600 bytes until the report
#: is made, 120 MB in all.
MOST_KEYS = 200_000
#: Below so many sampled keys a group's share of all is not said in bytes.
FEWEST_SAMPLED = 10
#: Two-sided 95 % of the normal distribution.
_Z = 1.96

SILENT = SilentProgress()

_TYPE = Packer([b"TYPE"])
_TTL = Packer([b"TTL"])
_MEMORY_USAGE = Packer([b"MEMORY", b"USAGE"])
_FREQUENCY = Packer([b"OBJECT", b"FREQ"])
_IDLE_TIME = Packer([b"OBJECT", b"IDLETIME"])


@dataclass(frozen=True, slots=True)
class SampledKey:
    """One key. ``size_bytes`` is MEMORY USAGE, which takes five members for all of a large value.

    ``ttl_seconds`` is ``None`` where the key never expires. ``frequency`` is the logarithmic counter
    of an LFU policy, 0 to 255; under any other ``idle_seconds`` is the time since its last use. What
    rights do not allow is ``None`` as well; see
    :attr:`KeySample.denied`.
    """

    name: str
    shape: str
    type: str
    size_bytes: int | None
    ttl_seconds: int | None
    frequency: int | None
    idle_seconds: int | None = None


@dataclass(slots=True)
class KeySample:
    """Keys of one database. ``is_whole`` is whether these are all, ``total_keys`` how many there are.

    ``denied`` holds the ACL rules that were missing; ``denied_keys`` counts keys that rights hide.
    """

    total_keys: int
    is_whole: bool
    keys: list[SampledKey] = field(default_factory=list)
    denied: set[str] = field(default_factory=set)
    denied_keys: int = 0

    @property
    def measured(self) -> list[SampledKey]:
        """The keys whose size is known."""
        return [key for key in self.keys if key.size_bytes is not None]

    def chance_of_a_key(self) -> float:
        """Return how likely it is that one certain key is in the sample."""
        if self.is_whole or self.total_keys == 0:
            return 1.0
        return 1 - (1 - 1 / self.total_keys) ** len(self.keys)


@dataclass(frozen=True, slots=True)
class ShapeShare:
    """What the keys of one shape take, by the sample.

    ``lowest_bytes`` and ``highest_bytes`` hold the true size in 95 of 100 samples; all three are
    ``None`` where too few keys were sampled. A walk over all keys leaves no width.
    ``unused_seconds`` is the time since one of its sampled keys was last used.
    """

    shape: str
    sampled_keys: int
    keys: int
    size_bytes: float | None
    lowest_bytes: float | None
    highest_bytes: float | None
    without_ttl_ratio: float | None
    unused_seconds: int | None = None


def take_sample(
    exchange: Exchange,
    total_keys: int,
    sample_keys: int,
    *,
    is_lfu: bool,
    progress: Progress = SILENT,
) -> KeySample:
    """Look at up to ``sample_keys`` keys of the database.

    Raises redis-py's errors other than a missing right, which the sample names, and what ``progress``
    raises before a batch.
    """
    sample = KeySample(total_keys, is_whole=total_keys <= sample_keys)
    looks = _Looks(exchange, sample, is_lfu=is_lfu)
    try:
        for batch in drawn_keys(exchange, total_keys, sample_keys, progress):
            looks.take(batch)
    except redis.exceptions.NoPermissionError:
        sample.denied.add("+scan" if sample.is_whole else "+randomkey")
    return sample


def drawn_keys(
    exchange: Exchange, total_keys: int, sample_keys: int, progress: Progress = SILENT
) -> Iterator[list[bytes]]:
    """Yield batches of keys: all of them once, or ``sample_keys`` drawn, a key perhaps twice."""
    is_whole, done = total_keys <= sample_keys, 0
    for batch in _all_keys(exchange) if is_whole else _random_keys(exchange, sample_keys):
        total = max(done, min(total_keys, sample_keys))
        progress.update(done, total, phase="looking at keys", unit="keys")
        yield batch
        done += len(batch)


def _all_keys(exchange: Exchange) -> Iterator[list[bytes]]:
    """Yield every key once, though SCAN may return one twice."""
    seen: set[bytes] = set()
    cursor = b"0"
    while True:
        (reply,) = exchange.run([pack(b"SCAN", cursor, b"COUNT", b"%d" % BATCH_KEYS)])
        if isinstance(reply, Exception):
            raise reply
        cursor, keys = reply
        new = [key for key in dict.fromkeys(keys) if key not in seen]
        seen.update(new)
        if new:
            yield new
        if cursor == b"0":
            return


def _random_keys(exchange: Exchange, count: int) -> Iterator[list[bytes]]:
    draw = pack(b"RANDOMKEY")
    for begin in range(0, count, BATCH_KEYS):
        replies = exchange.run([draw] * min(BATCH_KEYS, count - begin))
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
        yield [key for key in replies if key is not None]


class _Looks:
    """Asks for what is to be known of each key, and stops asking for what is denied."""

    def __init__(self, exchange: Exchange, sample: KeySample, *, is_lfu: bool) -> None:
        self._exchange = exchange
        self._sample = sample
        self._packers = {"+type": _TYPE, "+ttl": _TTL, "+memory|usage": _MEMORY_USAGE}
        if is_lfu:
            self._packers["+object|freq"] = _FREQUENCY
        else:
            self._packers["+object|idletime"] = _IDLE_TIME

    def take(self, keys: Sequence[bytes]) -> None:
        """Look at one batch of keys and add those that are still there."""
        asked = dict(self._packers)
        replies = self._exchange.run([c for p in asked.values() for c in p.for_keys(keys)])
        columns = {
            rule: replies[number * len(keys) : (number + 1) * len(keys)]
            for number, rule in enumerate(asked)
        }
        for number, key in enumerate(keys):
            self._add(key, {rule: column[number] for rule, column in columns.items()})

    def _add(self, key: bytes, replies: Mapping[str, Any]) -> None:
        known: dict[str, Any] = {}
        for rule, reply in replies.items():
            if isinstance(reply, redis.exceptions.NoPermissionError):
                if "command" not in str(reply):  # the key is denied and not the command
                    self._sample.denied_keys += 1
                    return
                self._sample.denied.add(rule)
                self._packers.pop(rule, None)
            elif not isinstance(reply, Exception):
                known[rule] = reply
        if known.get("+type") == b"none" or known.get("+ttl") == -2:
            return  # it vanished between two looks
        ttl = known.get("+ttl")
        self._sample.keys.append(
            SampledKey(
                name=shortened(key),
                shape=shape_of(key),
                type=known.get("+type", b"").decode(),
                size_bytes=known.get("+memory|usage"),
                ttl_seconds=None if ttl is None or ttl < 0 else ttl,
                frequency=known.get("+object|freq"),
                idle_seconds=known.get("+object|idletime"),
            )
        )


def shares_of(sample: KeySample) -> list[ShapeShare]:
    """Roll the sample up by shape, the largest first. Pure."""
    merged = common_shapes(key.shape for key in sample.keys)
    groups: dict[str, list[SampledKey]] = {}
    for key in sample.keys:
        groups.setdefault(merged[key.shape], []).append(key)
    shares = [_share(shape, keys, sample) for shape, keys in groups.items()]
    return sorted(shares, key=lambda s: (-(s.size_bytes or 0.0), -s.keys, s.shape))


def _share(shape: str, keys: Sequence[SampledKey], sample: KeySample) -> ShapeShare:
    drawn = len(sample.keys)
    sizes = [key.size_bytes for key in keys if key.size_bytes is not None]
    interval = None
    if sample.is_whole and len(sizes) == len(keys):
        interval = (float(sum(sizes)),) * 3
    elif not sample.is_whole and len(sizes) == len(keys) >= FEWEST_SAMPLED:
        interval = total_interval(sizes, drawn, sample.total_keys)
    known_ttl = "+ttl" not in sample.denied
    return ShapeShare(
        shape=shape,
        sampled_keys=len(keys),
        keys=len(keys) if sample.is_whole else round(sample.total_keys * len(keys) / drawn),
        size_bytes=interval[0] if interval else None,
        lowest_bytes=interval[1] if interval else None,
        highest_bytes=interval[2] if interval else None,
        without_ttl_ratio=(
            sum(key.ttl_seconds is None for key in keys) / len(keys) if known_ttl else None
        ),
        unused_seconds=min(
            (key.idle_seconds for key in keys if key.idle_seconds is not None), default=None
        ),
    )


def total_interval(
    values: Iterable[float], drawn: int, population: int
) -> tuple[float, float, float]:
    """Return the estimated total of ``values`` over a population, and its 95 % interval.

    ``values`` are those of the ``drawn`` keys that belong to a group; every other one counts 0. The
    estimate is the population times the mean, its error that of a mean of independent draws.
    """
    known = list(values)
    mean = sum(known) / drawn
    if drawn < 2:
        return population * mean, 0.0, math.inf
    squares = sum((value - mean) ** 2 for value in known) + (drawn - len(known)) * mean**2
    error = math.sqrt(squares / (drawn - 1) / drawn)
    within = _Z * error * population
    total = population * mean
    return total, max(0.0, total - within), total + within
