"""What a site's servers hold, as far as a configuration follows from it."""

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import psycopg2
import psycopg2.errors
import redis

from maintenance.conf import DatabaseTarget, RedisTarget
from maintenance.core.errors import TargetUnavailable
from maintenance.core.redaction import address_of, redact
from maintenance.postgres.connection import address_of as address_of_session
from maintenance.postgres.connection import address_of_parameters, connect, reason_of
from maintenance.postgres.exclusive_use import NEEDS
from maintenance.postgres.readiness.look import look_through
from maintenance.postgres.sql_files import query
from maintenance.redis.key_sample import KeySample, take_sample
from maintenance.redis_client.connection import session
from maintenance.redis_client.packed import Exchange, exchange, pack
from maintenance.redis_client.server import server_facts

#: As many as the check of a server's memory looks at.
SAMPLE_KEYS = 2000
#: Pages of SCAN among which queues are looked for, and the keys of each.
SCAN_PAGES = 200
PAGE_KEYS = 1000

#: kombu's own name of a set of bindings; a site may write its prefix before it (``global_keyprefix``).
_BINDING = b"_kombu.binding."
_SEPARATOR = b"\x06\x16"  # kombu, transport/redis.py: routing key, pattern and queue of a binding
#: Queues of kombu's own: remote control and events.
_OWN_QUEUES = re.compile(r"\.pidbox$|^celeryev\b|\.reply\.")
#: What stands between prefix and key of a cached value; each may have more colons.
_VERSION = re.compile(r":(?=(?P<version>0|[1-9]\d{0,2}):)")

_LENGTHS = {"zset": b"ZCARD", "list": b"LLEN", "stream": b"XLEN"}


@dataclass(frozen=True, slots=True)
class TableSeen:
    """A table with all that belongs to it."""

    schema: str
    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class DatabaseSeen:
    """One database. ``address`` has neither user nor password. Largest table first."""

    address: str
    version: str
    tables: tuple[TableSeen, ...]
    extensions: tuple[str, ...]

    @property
    def is_of_django(self) -> bool:
        """Whether Django's migrations made it."""
        return any(table.name == "django_migrations" for table in self.tables)


@dataclass(frozen=True, slots=True)
class ShapeSeen:
    """Keys of one shape and type: how many of the sample, and the longest of those asked."""

    shape: str
    type: str
    sampled_keys: int
    longest: int | None = None


@dataclass(frozen=True, slots=True)
class RedisSeen:
    """One database of a Redis server.

    ``prefixes`` are (what stands before a number between colons, the number, sampled keys): of caches, and
    of whatever else is written like their keys.
    ``queue_prefix`` stands before the keys of ``queues``. Where several sites share the server, the queues
    are those of the prefix that has most of them. ``searched_keys`` is among how many of its keys
    queues were looked for, ``None`` for all.
    """

    address: str
    name: str
    keys: int
    shapes: tuple[ShapeSeen, ...]
    queues: tuple[str, ...]
    prefixes: tuple[tuple[str, int, int], ...]
    queue_prefix: str = ""
    searched_keys: int | None = None


def look_at_database(target: DatabaseTarget) -> DatabaseSeen:
    """Look at the catalog. Raises as :func:`maintenance.postgres.connection.connect`.

    What the server answers with an error of another kind (a table is locked, a statement was ended) is a
    ``TargetUnavailable`` as well.
    """
    try:
        return _seen_in_database(target)
    except psycopg2.Error as error:
        address = address_of_parameters(target.connection_parameters())
        needs = f"It needs {NEEDS}. " if isinstance(error, psycopg2.errors.LockNotAvailable) else ""
        raise TargetUnavailable(
            f"PostgreSQL at {address} could not be looked at: {reason_of(error)}. {needs}Try again later."
        ) from error


def _seen_in_database(target: DatabaseTarget) -> DatabaseSeen:
    with connect(target, purpose="attach") as conn:
        server = look_through(conn)
        tables = [TableSeen(**row) for row in query(conn, "attach_tables")]
        return DatabaseSeen(
            address=address_of_session(conn),
            version=server.version,
            tables=tuple(tables),
            extensions=tuple(sorted(name for name, here in server.extensions.items() if here)),
        )


def look_at_redis(target: RedisTarget) -> RedisSeen:
    """Look at a sample of keys, and for queues. Costs some milliseconds.

    Raises as ``session``, and ``TargetUnavailable`` for what does not answer as Redis does.
    """
    try:
        return _seen_on_redis(target)
    except redis.RedisError as error:
        raise TargetUnavailable(
            f"{address_of(target.resolved_url())} does not answer as Redis does:"
            f" {redact(str(error)).rstrip('. ')}. Check that the address is that of a Redis server."
        ) from None


def _seen_on_redis(target: RedisTarget) -> RedisSeen:
    with session(target) as client:
        facts = server_facts(client)
        is_lfu = "lfu" in facts.maxmemory_policy
        with exchange(client) as wire:
            sample = take_sample(wire, facts.keys, SAMPLE_KEYS, is_lfu=is_lfu)
            declared, is_searched = _declared(wire)
        counts = Counter(prefix for prefix, _queue in sorted(declared))
        queue_prefix = counts.most_common(1)[0][0] if counts else ""
        return RedisSeen(
            address=address_of(target.resolved_url()),
            name=facts.name,
            keys=facts.keys,
            shapes=tuple(_shapes(client, sample)),
            queues=tuple(sorted(queue for prefix, queue in declared if prefix == queue_prefix)),
            prefixes=tuple(_prefixes(sample)),
            queue_prefix=queue_prefix,
            searched_keys=None if is_searched else min(SCAN_PAGES * PAGE_KEYS, facts.keys),
        )


def _shapes(client: redis.Redis, sample: KeySample) -> Iterator[ShapeSeen]:
    groups: dict[tuple[str, str], list[str]] = {}
    for key in sample.keys:
        groups.setdefault((key.shape, key.type), []).append(key.name)
    for (shape, kind), names in sorted(groups.items(), key=lambda item: -len(item[1])):
        longest = _longest(client, kind, names) if len(names) > 1 and kind in _LENGTHS else None
        yield ShapeSeen(shape, kind, len(names), longest)


def _longest(client: redis.Redis, kind: str, names: Sequence[str]) -> int:
    with exchange(client) as wire:
        replies = wire.run([pack(_LENGTHS[kind], name.encode()) for name in names])
    return max((reply for reply in replies if isinstance(reply, int)), default=0)


def _declared(wire: Exchange) -> tuple[set[tuple[str, str]], bool]:
    """Return prefixes and names of queues that Celery has declared, and whether all keys were looked through.

    The set of Celery's usual queue is asked for by its name, however many keys there are.
    """
    declared = set(_queues(wire, [_BINDING + b"celery"]))
    cursor = b"0"
    for _page in range(SCAN_PAGES):
        (reply,) = wire.run(
            [pack(b"SCAN", cursor, b"MATCH", b"*" + _BINDING + b"*", b"COUNT", b"%d" % PAGE_KEYS)]
        )
        if isinstance(reply, Exception):
            raise reply
        cursor, keys = reply
        declared.update(_queues(wire, keys))
        if cursor == b"0":
            return declared, True
    return declared, False


def _queues(wire: Exchange, keys: Sequence[bytes]) -> Iterator[tuple[str, str]]:
    """Yield the prefix and name of queues that stand in these sets of bindings."""
    replies = wire.run([pack(b"SMEMBERS", key) for key in keys])
    for key, members in zip(keys, replies, strict=True):
        if isinstance(members, Exception):
            continue  # of another type, so that kombu has not written it
        prefix = key.partition(_BINDING)[0].decode("utf-8", "replace")
        for member in members:
            queue = member.rpartition(_SEPARATOR)[2].decode("utf-8", "replace")
            if queue and not _OWN_QUEUES.search(queue):
                yield prefix, queue


def _prefixes(sample: KeySample) -> Iterator[tuple[str, int, int]]:
    """Yield each way in which sampled keys may be those of a cache: ``a:1:b:2:c`` has two."""
    found: Counter[tuple[str, int]] = Counter()
    for key in sample.keys:
        if key.type == "string":
            found.update(
                (key.name[: written.start()], int(written["version"]))
                for written in _VERSION.finditer(key.name)
            )
    for (prefix, version), count in found.most_common():
        yield prefix, version, count
