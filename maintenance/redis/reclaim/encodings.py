"""Values that a higher limit would make compact: what to set, and what that saves.

Of a sample of keys those that are stored loosely are read, and their compact size is computed from
their members (:mod:`maintenance.redis.reclaim.compact`). Values of the sample that are compact
already say how far the computed sizes are from those of the server. Nothing is written.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import redis

from maintenance.core.job import Progress
from maintenance.redis.key_sample import SILENT, drawn_keys, total_interval
from maintenance.redis.key_shapes import shape_of
from maintenance.redis.reclaim.compact import Limits, SizeModel, is_whole_number
from maintenance.redis_client.packed import Exchange, Packer, pack, touch_nothing

NEEDS_ACL = (
    "+config|get",
    "+hgetall",
    "+hlen",
    "+memory|usage",
    "+object|encoding",
    "+randomkey",
    "+scan",
    "+scard",
    "+smembers",
    "+type",
    "+zcard",
    "+zrange",
)

#: No limit above these is recommended: a command on a compact value takes time in proportion to its
#: members. Measured on Redis 7.0 and Valkey 9.1: to find one of 512 takes 2 to 3 microseconds, and one
#: of the 1,024 fields of a hash, whose limit is 512 already, 4 to 5, in place of half a one; to write
#: one takes as much, but in a sorted set, where scores are compared as text, 14 to 58.
LARGEST_ENTRIES: Mapping[str, int] = {"zset": 512, "hash": 1024, "set": 512}
#: A set of whole numbers is searched by halves: 2,048 take no longer than a hash table.
LARGEST_INTEGER_ENTRIES = 2048
LARGEST_VALUE_BYTES = 128
#: The lower of two limits is taken if it saves this share of what the higher one does.
GOOD_SHARE = 0.8
#: So many values of each type are read at most, and so many compact ones to check the model.
MOST_READ = 400
MOST_CHECKED = 30
#: A value that takes more is not read: its members cannot be short.
LARGEST_READ_BYTES = 512 * 1024

_TYPE = Packer([b"TYPE"])
_ENCODING = Packer([b"OBJECT", b"ENCODING"])
_MEMORY_USAGE = Packer([b"MEMORY", b"USAGE"])
_LENGTH_COMMANDS = {"zset": b"ZCARD", "hash": b"HLEN", "set": b"SCARD"}
_LOOSE = {"zset": b"skiplist", "hash": b"hashtable", "set": b"hashtable"}


@dataclass(frozen=True, slots=True)
class MeasuredValue:
    """One value: what it takes, and what it would take compact by the model.

    ``longest_bytes`` is the longest member (field or value of a hash), ``is_loose`` whether it is
    stored as a skiplist or hash table now.
    """

    key: bytes
    kind: str
    length: int
    longest_bytes: int
    whole_numbers: bool
    size_bytes: int
    packed_bytes: int
    is_loose: bool

    @property
    def saved_bytes(self) -> int:
        """What its compact form takes less; 0 where that is nothing."""
        return max(0, self.size_bytes - self.packed_bytes)


@dataclass(slots=True)
class EncodingSample:
    """What was read. ``drawn`` counts all keys looked at, of ``total_keys`` in the database.

    ``loose_keys`` counts the loose ones by type and ``unread_keys`` those that were not read because
    enough were: estimates take the others for like them. ``too_large_keys`` are loose and beyond any
    limit that is ever advised, and ``too_large_bytes`` what they take.
    """

    total_keys: int
    is_whole: bool
    drawn: int = 0
    values: list[MeasuredValue] = field(default_factory=list)
    loose_keys: dict[str, int] = field(default_factory=dict)
    unread_keys: dict[str, int] = field(default_factory=dict)
    too_large_keys: dict[str, int] = field(default_factory=dict)
    too_large_bytes: dict[str, int] = field(default_factory=dict)
    list_keys: int = 0
    list_bytes: int = 0

    def of_all(self, kind: str, drawn: int) -> float:
        """Return how many of all keys, or of their bytes, so many of the drawn ones of a type stand for."""
        return self.total_keys * drawn / _drawn(self, kind) if drawn else 0.0

    @property
    def model_error_ratio(self) -> float | None:
        """How far the model is off on the compact values, in all; ``None`` without any."""
        compact = [value for value in self.values if not value.is_loose]
        size = sum(value.size_bytes for value in compact)
        return abs(sum(v.packed_bytes for v in compact) / size - 1) if size else None


@dataclass(frozen=True, slots=True)
class Recommendation:
    """One setting to raise, and what that saves once the keys are repacked.

    ``saved_bytes`` is of all keys, with its 95 % interval; ``before_bytes`` is what these keys take.
    ``value`` equals ``current`` where no setting has to change: repacking alone saves that.
    """

    kind: str
    setting: str
    current: int
    value: int
    keys: int
    before_bytes: float
    saved_bytes: float
    lowest_bytes: float
    highest_bytes: float
    shapes: tuple[str, ...]
    examples: tuple[MeasuredValue, ...]

    @property
    def is_repack_only(self) -> bool:
        """Whether the limits in force suffice."""
        return self.value == self.current


def measure_encodings(
    exchange: Exchange,
    total_keys: int,
    sample_keys: int,
    model: SizeModel,
    progress: Progress = SILENT,
) -> EncodingSample:
    """Draw keys and read those that could be compact.

    Raises redis-py's errors, and what ``progress`` raises before a batch.

    Before Redis 7.2 reading counts as a use of a key: of :data:`MOST_READ` values of a type at most.
    """
    touch_nothing(exchange)
    sample = EncodingSample(total_keys, is_whole=total_keys <= sample_keys)
    read: dict[tuple[str, bool], int] = {}
    for keys in drawn_keys(exchange, total_keys, sample_keys, progress):
        sample.drawn += len(keys)
        for key, kind, usage, is_loose in _looked_at(exchange, keys, sample):
            counts = sample.loose_keys if is_loose else {}
            counts[kind] = counts.get(kind, 0) + 1
            number = read.get((kind, is_loose), 0)
            if number >= (MOST_READ if is_loose else MOST_CHECKED):
                if is_loose:
                    sample.unread_keys[kind] = sample.unread_keys.get(kind, 0) + 1
                continue
            read[kind, is_loose] = number + 1
            value = _read(exchange, model, (key, kind, usage), is_loose=is_loose)
            if value is not None:
                sample.values.append(value)
            elif is_loose:
                _count_too_large(sample, kind, usage)
    return sample


def _count_too_large(sample: EncodingSample, kind: str, usage: int) -> None:
    sample.too_large_keys[kind] = sample.too_large_keys.get(kind, 0) + 1
    sample.too_large_bytes[kind] = sample.too_large_bytes.get(kind, 0) + usage


def _looked_at(
    exchange: Exchange, keys: Sequence[bytes], sample: EncodingSample
) -> Iterator[tuple[bytes, str, int, bool]]:
    """Yield key, type, size and looseness of the sorted sets, hashes and sets among ``keys``."""
    packers = (_TYPE, _ENCODING, _MEMORY_USAGE)
    replies = exchange.run([c for packer in packers for c in packer.for_keys(keys)])
    for reply in replies:
        if isinstance(reply, redis.exceptions.NoPermissionError):
            raise reply
    types, encodings, usages = (replies[n * len(keys) : (n + 1) * len(keys)] for n in range(3))
    for key, kind, encoding, usage in zip(keys, types, encodings, usages, strict=True):
        if not isinstance(kind, bytes) or not isinstance(usage, int):
            continue
        if kind == b"list":
            sample.list_keys += 1
            sample.list_bytes += usage
        name = kind.decode()
        if name in _LOOSE:
            yield key, name, usage, encoding == _LOOSE[name]


def _read(
    exchange: Exchange, model: SizeModel, seen: tuple[bytes, str, int], *, is_loose: bool
) -> MeasuredValue | None:
    """Read one value, unless it is too long to ever be compact, or gone."""
    key, kind, usage = seen
    if usage > LARGEST_READ_BYTES:
        return None
    (length,) = exchange.run([pack(_LENGTH_COMMANDS[kind], key)])
    if not isinstance(length, int) or not 0 < length <= most_members(kind):
        return None
    (members,) = exchange.run([_whole_value(kind, key)])
    if isinstance(members, redis.exceptions.NoPermissionError):
        raise members
    if not isinstance(members, list) or not members:
        return None
    judged = members[::2] if kind == "zset" else members
    return MeasuredValue(
        key=key,
        kind=kind,
        length=length,
        longest_bytes=max(map(len, judged)),
        whole_numbers=kind == "set" and all(map(is_whole_number, members)),
        size_bytes=usage,
        packed_bytes=model.packed_bytes(kind, members, len(key)),
        is_loose=is_loose,
    )


def most_members(kind: str) -> int:
    """Return how many members a value may have that a limit which is ever advised makes compact."""
    return LARGEST_INTEGER_ENTRIES if kind == "set" else LARGEST_ENTRIES[kind]


def _whole_value(kind: str, key: bytes) -> bytes:
    if kind == "zset":
        return pack(b"ZRANGE", key, b"0", b"-1", b"WITHSCORES")
    return pack(b"HGETALL" if kind == "hash" else b"SMEMBERS", key)


def recommend(
    sample: EncodingSample,
    limits: Mapping[str, Limits],
    too_slow: Mapping[str, int] | None = None,
) -> list[Recommendation]:
    """Return what to raise, and what only needs repacking, most bytes first. Pure.

    ``too_slow`` are values of settings that a trial found so: only lower ones are recommended.
    """
    slow = too_slow or {}
    found = []
    for kind, current in limits.items():
        loose = [v for v in sample.values if v.kind == kind and v.is_loose and v.saved_bytes]
        ready: list[MeasuredValue] = []
        rest: list[MeasuredValue] = []
        for value in loose:
            (ready if _holds(current, value) else rest).append(value)
        as_it_is = _Choice(current.entries_setting, current.entries, {current.entries: current})
        found.append(_best(sample, kind, ready, as_it_is))
        choices = [one.below(slow.get(one.setting)) for one in _choices(kind, current)]
        found += [_best(sample, kind, rest, choice) for choice in choices]
    return sorted(filter(None, found), key=lambda r: -r.saved_bytes)


@dataclass(frozen=True, slots=True)
class _Choice:
    """One setting, its value now, and the limits under each value that it could have."""

    setting: str
    current: int
    raised: Mapping[int, Limits]

    def below(self, value: int | None) -> "_Choice":
        """Return the choice among lower values; the same for ``None``."""
        if value is None:
            return self
        return replace(self, raised={n: limits for n, limits in self.raised.items() if n < value})


def _choices(kind: str, now: Limits) -> Iterator[_Choice]:
    """Yield what may be raised; a limit of 0 is an encoding that is off or that a server lacks."""
    if now.entries:
        values = [n for n in (256, 512, 1024) if now.entries < n <= LARGEST_ENTRIES[kind]]
        raised = {n: replace(now, entries=n) for n in values}
        yield _Choice(now.entries_setting, now.entries, raised)
    if 0 < now.value_bytes < LARGEST_VALUE_BYTES:
        raised = {LARGEST_VALUE_BYTES: replace(now, value_bytes=LARGEST_VALUE_BYTES)}
        yield _Choice(now.value_setting, now.value_bytes, raised)
    if now.integer_entries:
        values = [n for n in (1024, LARGEST_INTEGER_ENTRIES) if n > now.integer_entries]
        raised = {n: replace(now, integer_entries=n) for n in values}
        yield _Choice(now.integer_setting, now.integer_entries, raised)


def _holds(limits: Limits, value: MeasuredValue) -> bool:
    return limits.hold(value.length, value.longest_bytes, whole_numbers=value.whole_numbers)


def _best(
    sample: EncodingSample, kind: str, values: Sequence[MeasuredValue], choice: _Choice
) -> Recommendation | None:
    """Return the lowest value of the choice that does most of what the highest one does."""
    helped = {
        value: [v for v in values if _holds(limits, v)] for value, limits in choice.raised.items()
    }
    saved = {value: sum(v.saved_bytes for v in these) for value, these in helped.items()}
    if not any(saved.values()):
        return None
    value = min(v for v in saved if saved[v] >= GOOD_SHARE * max(saved.values()))
    chosen = helped[value]
    about, lowest, highest = _of_all(sample, kind, [v.saved_bytes for v in chosen])
    return Recommendation(
        kind=kind,
        setting=choice.setting,
        current=choice.current,
        value=value,
        keys=round(sample.total_keys * len(chosen) / _drawn(sample, kind)),
        before_bytes=_of_all(sample, kind, [v.size_bytes for v in chosen])[0],
        saved_bytes=about,
        lowest_bytes=lowest,
        highest_bytes=highest,
        shapes=tuple(s for s, _ in Counter(shape_of(v.key) for v in chosen).most_common()),
        examples=tuple(sorted(chosen, key=lambda v: -v.saved_bytes)[:5]),
    )


def _drawn(sample: EncodingSample, kind: str) -> float:
    """Return of how many drawn keys the loose values of a type were read."""
    loose = sample.loose_keys.get(kind, 0)
    return sample.drawn * (loose - sample.unread_keys.get(kind, 0)) / loose


def _of_all(sample: EncodingSample, kind: str, sizes: list[int]) -> tuple[float, float, float]:
    """Return the total over all keys with its interval, which is none where all were read."""
    if sample.is_whole and not sample.unread_keys.get(kind):
        return (float(sum(sizes)),) * 3
    return total_interval(sizes, round(_drawn(sample, kind)), sample.total_keys)
