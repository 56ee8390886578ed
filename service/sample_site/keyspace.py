"""The sample site's Redis: connecting, refusing keys that are not ours, sending commands fast."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any, Final, TypeVar

import redis

from maintenance.redis_client.packed import exchange, pack, raise_first_error
from service.sample_site.errors import SampleSiteError

MARKER_KEY: Final = "library:sample-site"
"""Its presence says that every key of the site's own families may be replaced."""

OWN_PATTERNS: Final = (
    "*-home",
    "*-home-unread",
    "*-home-unread-by-type",
    "recently-viewed:*",
    "events:*",
    ":0:*",
    ":1:*",
    "bookshelf_cache:1:*",
    "_kombu.binding.*",
    "*_priority",
    "imports",
)
"""The key families that a build writes and that the next build removes."""

_KEYS_PER_SCAN: Final = 1_000
_COMMANDS_PER_BATCH: Final = 1_000

Item = TypeVar("Item")


@contextmanager
def site_redis(url: str) -> Iterator[redis.Redis]:
    """Open a client of the site's Redis or Valkey. Raises SampleSiteError where it fails."""
    try:
        client = redis.Redis.from_url(url, socket_timeout=30, socket_connect_timeout=5)
    except ValueError:
        # urllib repeats parts of a malformed URL in its message, with the password in them.
        raise SampleSiteError(
            "The Redis URL cannot be read: it should look like redis://:password@host:6379/0, "
            "with special characters percent-encoded."
        ) from None
    try:
        client.ping()
        yield client
    except (redis.ConnectionError, redis.TimeoutError) as error:
        raise SampleSiteError(
            f"The sample site's Redis at {address(client)} does not answer: {error}"
        ) from None
    except redis.ResponseError as error:
        raise SampleSiteError(
            f"The sample site's Redis at {address(client)} refused a command: {error}. "
            "What was built so far is replaced by the next build."
        ) from error
    finally:
        client.close()


def address(client: redis.Redis) -> str:
    """Host, port and database of a client, never its password."""
    options: dict[str, Any] = client.get_connection_kwargs()
    if "path" in options:
        return f"{options['path']} database {options.get('db', 0)}"
    return f"{options.get('host')}:{options.get('port')} database {options.get('db', 0)}"


def refuse_foreign_keys(client: redis.Redis) -> None:
    """Raise SampleSiteError where the database holds keys but no marker of ours."""
    if client.dbsize() and not client.exists(MARKER_KEY):
        raise SampleSiteError(
            f"The Redis database at {address(client)} holds {client.dbsize()} key(s) that the sample site did "
            "not make. Nothing was changed. Give the sample site a database of its own, such as another "
            "number at the end of the URL."
        )


def clear_own_keys(client: redis.Redis) -> None:
    """Set the marker and unlink the keys of an earlier build.

    Keys outside the site's own families stay; nothing is ever flushed.
    """
    client.set(
        MARKER_KEY, "built by manage.py sample_site; its keys are replaced by the next build"
    )
    for pattern in OWN_PATTERNS:
        keys = client.scan_iter(match=pattern, count=_KEYS_PER_SCAN)
        for batch in _batches(keys, _KEYS_PER_SCAN):
            client.unlink(*batch)


def _batches(items: Iterable[Item], size: int) -> Iterator[list[Item]]:
    iterator = iter(items)
    while batch := list(islice(iterator, size)):
        yield batch


def command(*words: bytes | str | int) -> bytes:
    """One command, packed to bytes."""
    return pack(*(word if isinstance(word, bytes) else str(word).encode() for word in words))


def send_packed(client: redis.Redis, commands: Iterable[bytes]) -> Iterator[int]:
    """Send packed commands in batches; yield how many were answered so far.

    Raises the first error that the server answers.
    """
    answered = 0
    with exchange(client) as wire:
        for batch in _batches(commands, _COMMANDS_PER_BATCH):
            raise_first_error(wire.run(batch))
            answered += len(batch)
            yield answered
