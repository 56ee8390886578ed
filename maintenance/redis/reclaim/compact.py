"""How large a value is in a compact encoding, computed from its members. Pure.

Sorted sets, hashes and sets below the server's limits are one listpack (intset for a set of whole
numbers): a single block of memory in which members follow one another. The sizes of its parts are
those of listpack.c and intset.c, which Redis 7 and Valkey share, and of ziplist.c, which Redis 6.2 has
in place of the first.
"""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from maintenance.redis_client.server import ServerFacts

_HEADER_AND_END_BYTES = 7
_ZIPLIST_HEADER_AND_END_BYTES = 11
_OBJECT_BYTES = 16
_TABLE_ENTRY_BYTES = 24

_WHOLE_NUMBER = re.compile(rb"-?[1-9][0-9]{0,18}|0")

#: Whole numbers up to so many bits take so many bytes (listpack.c, lpEncodeIntegerGetType).
_INTEGER_BYTES = ((13, 2), (16, 3), (24, 4), (32, 5), (64, 9))
#: The same of a ziplist (ziplist.c, zipTryEncoding), in which 0 to 12 take one byte.
_ZIPLIST_INTEGER_BYTES = ((8, 2), (16, 3), (24, 4), (32, 5), (64, 9))


@dataclass(frozen=True, slots=True)
class Limits:
    """Up to which size one type of value is compact on a server, and how the settings are called.

    ``integer_entries`` is for sets of whole numbers alone; ``None`` for other types.
    """

    entries_setting: str
    entries: int
    value_setting: str
    value_bytes: int
    integer_setting: str = ""
    integer_entries: int | None = None

    def hold(self, length: int, longest_bytes: int, *, whole_numbers: bool) -> bool:
        """Return whether a value of ``length`` members is compact, the longest being so long."""
        if whole_numbers and self.integer_entries is not None and length <= self.integer_entries:
            return True
        return length <= self.entries and longest_bytes <= self.value_bytes


def limits_from(settings: dict[str, str]) -> dict[str, Limits]:
    """Read the limits of each type out of CONFIG GET ``*-max-*``.

    Redis 6.2 says ziplist for listpack, 7.0 and later know both names. Sets of words are compact
    since 7.2 only: before, their limit is 0.
    """
    limits: dict[str, Limits] = {}
    for kind in ("zset", "hash", "set"):
        word = "listpack" if f"{kind}-max-listpack-entries" in settings else "ziplist"
        entries, value = f"{kind}-max-{word}-entries", f"{kind}-max-{word}-value"
        integer = "set-max-intset-entries" if kind == "set" else ""
        limits[kind] = Limits(
            entries_setting=entries,
            entries=int(settings.get(entries, 0)),
            value_setting=value,
            value_bytes=int(settings.get(value, 0)),
            integer_setting=integer,
            integer_entries=int(settings[integer]) if integer in settings else None,
        )
    return limits


def is_whole_number(member: bytes) -> bool:
    """Return whether a member is stored as a number of up to 64 bits."""
    return bool(_WHOLE_NUMBER.fullmatch(member)) and -(2**63) <= int(member) < 2**63


@dataclass(frozen=True, slots=True)
class SizeModel:
    """What a server adds to the content of a value, as its MEMORY USAGE counts it.

    ``has_jemalloc`` is whether its memory comes from jemalloc or from the C library, ``embeds_keys``
    whether the key lies in the value's own object (Valkey 8, Redis 8) or beside it. ``has_ziplists``
    is whether it is Redis 6.2, which of a compact value counts the content alone, and not what the
    allocator reserves for it.
    """

    has_jemalloc: bool
    embeds_keys: bool
    has_ziplists: bool = False

    @classmethod
    def of(cls, facts: ServerFacts, allocator: str) -> "SizeModel":
        """Choose by the server's version and by ``mem_allocator`` of INFO."""
        return cls(
            has_jemalloc="jemalloc" in allocator,
            embeds_keys=facts.major >= 8,
            has_ziplists=facts.major < 7,
        )

    def packed_bytes(self, kind: str, members: Sequence[bytes], key_bytes: int) -> int:
        """Return what MEMORY USAGE would say of a value whose ``members`` are compact.

        ``members`` are those of a set, fields and values of a hash, or members and scores of a
        sorted set, as they are read from the server.
        """
        if kind == "set" and all(map(is_whole_number, members)):
            content = 8 + len(members) * _intset_width(members)
        elif self.has_ziplists:
            content = _ZIPLIST_HEADER_AND_END_BYTES + sum(map(_ziplist_entry_bytes, members))
        else:
            content = _HEADER_AND_END_BYTES + sum(map(_entry_bytes, members))
        counted = content if self.has_ziplists else self.allocated_bytes(content)
        return self._key_bytes(key_bytes) + counted

    def _key_bytes(self, length: int) -> int:
        text = length + (2 if length < 32 else 4)  # with its header and a final zero
        if self.embeds_keys:
            return self.allocated_bytes(_OBJECT_BYTES + 1 + text)
        return _OBJECT_BYTES + _TABLE_ENTRY_BYTES + self.allocated_bytes(text)

    def allocated_bytes(self, size: int) -> int:
        """Return what the allocator reserves for ``size`` bytes.

        jemalloc has four classes between two powers of two, the C library (glibc) blocks of 16 bytes
        of which 8 are its own.
        """
        if not self.has_jemalloc:
            return max(24, (size + 23) // 16 * 16 - 8)
        if size <= 128:
            return 8 if size <= 8 else -(-size // 16) * 16
        step = 1 << ((size - 1).bit_length() - 3)
        return -(-size // step) * step


def _entry_bytes(member: bytes) -> int:
    size = len(member)
    if size <= 20 and is_whole_number(member):
        number = int(member)
        size = 1 if 0 <= number < 128 else _integer_bytes(number, _INTEGER_BYTES)
    else:
        size += 1 if size < 64 else 2 if size < 4096 else 5
    return size + (1 if size < 128 else 2 if size < 16_383 else 3)


def _ziplist_entry_bytes(member: bytes) -> int:
    """Return what an entry takes, with the length of its own that the next one begins with."""
    size = len(member)
    if 0 < size < 32 and is_whole_number(member):
        number = int(member)
        size = 1 if 0 <= number <= 12 else _integer_bytes(number, _ZIPLIST_INTEGER_BYTES)
    else:
        size += 1 if size < 64 else 2 if size < 16_384 else 5
    return size + (1 if size < 253 else 5)


def _integer_bytes(number: int, sizes: Sequence[tuple[int, int]]) -> int:
    return next(size for bits, size in sizes if -(2 ** (bits - 1)) <= number < 2 ** (bits - 1))


def _intset_width(members: Iterable[bytes]) -> int:
    numbers = [int(member) for member in members]
    largest = max(max(numbers, default=0), -min(numbers, default=0) - 1)
    return 2 if largest < 2**15 else 4 if largest < 2**31 else 8
