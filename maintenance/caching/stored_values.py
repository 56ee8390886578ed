"""Which keys of a cache are there, and how large their values are."""

import math
from collections.abc import Sequence
from typing import Protocol

import redis

from maintenance.caching.backend import OpenCache
from maintenance.redis_client.packed import Packer, exchange, raise_first_error

KEYS_PER_LOOK = 1000

_STRING_LENGTH = Packer([b"STRLEN"])
_TIME_LEFT = Packer([b"PTTL"])
#: PTTL of a key without a time-out; of one that is not there it is -2.
_NEVER = -1


class StoredValues(Protocol):
    """Looks at values without reading them."""

    def stored_key(self, key: str) -> bytes:
        """Return the key as it stands on the server. Raises ``ValueError``."""

    def present(self, keys: Sequence[str]) -> set[str]:
        """Return those of ``keys`` that are in the cache."""

    def sizes(self, keys: Sequence[str]) -> tuple[int, int | None]:
        """Return how many of ``keys`` are in the cache, and the bytes of their stored values;
        ``None`` where the backend cannot tell."""

    def seconds_left(self, keys: Sequence[str]) -> list[float]:
        """Return how long each of ``keys`` stays: 0 for one that is not there, or of which the
        backend cannot tell, infinity for one without a time-out."""


def stored_values(cache: OpenCache) -> StoredValues:
    """Return the way to look that suits the backend."""
    if cache.client is None:
        return _ByApi(cache)
    return _ByServer(cache, cache.client)


class _ByApi:
    """Any backend of Django: one ``has_key`` a key."""

    def __init__(self, cache: OpenCache) -> None:
        self._cache = cache.cache
        self.stored_key = cache.stored_key

    def present(self, keys: Sequence[str]) -> set[str]:
        return {key for key in keys if self._cache.has_key(key)}

    def sizes(self, keys: Sequence[str]) -> tuple[int, int | None]:
        return len(self.present(keys)), None

    def seconds_left(self, keys: Sequence[str]) -> list[float]:
        return [0.0] * len(keys)


class _ByServer:
    """Redis: STRLEN a thousand keys at a time; 0 is a key that is not there, for a stored value
    is never empty (it is a pickle, or the digits of an integer)."""

    def __init__(self, cache: OpenCache, client: redis.Redis) -> None:
        # Each key is looked at before it is written, and after. Checking it and making it out of
        # prefix and version takes Django longer than the server takes to answer.
        self._stored_keys: dict[str, bytes] = {}
        self._cache = cache
        self._client = client

    def stored_key(self, key: str) -> bytes:
        made = self._stored_keys.get(key)
        if made is None:
            made = self._stored_keys[key] = self._cache.stored_key(key)
        return made

    def present(self, keys: Sequence[str]) -> set[str]:
        return {key for key, size in zip(keys, self._lengths(keys), strict=True) if size}

    def sizes(self, keys: Sequence[str]) -> tuple[int, int | None]:
        lengths = self._lengths(keys)
        return sum(length > 0 for length in lengths), sum(lengths)

    def seconds_left(self, keys: Sequence[str]) -> list[float]:
        times = self._ask(_TIME_LEFT, keys)
        return [math.inf if left == _NEVER else max(0, left) / 1000 for left in times]

    def _lengths(self, keys: Sequence[str]) -> list[int]:
        return self._ask(_STRING_LENGTH, keys)

    def _ask(self, command: Packer, keys: Sequence[str]) -> list[int]:
        stored = [self.stored_key(key) for key in keys]
        answers: list[int] = []
        with exchange(self._client) as wire:
            for start in range(0, len(stored), KEYS_PER_LOOK):
                replies = wire.run(command.for_keys(stored[start : start + KEYS_PER_LOOK]))
                raise_first_error(replies)
                answers += replies
        return answers
