"""Connections to Redis and Valkey, and what their errors mean for an operator."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from itertools import islice
from typing import Any, Protocol

import redis
from redis._parsers.hiredis import NOT_ENOUGH_DATA, _HiredisParser
from redis.backoff import NoBackoff
from redis.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)
from redis.retry import Retry

from maintenance.core.errors import ConfigurationError, MissingRights, TargetUnavailable
from maintenance.core.redaction import address_of, redact
from maintenance.redis_client.sentinel import primary_url

CLIENT_NAME = "maintenance"

#: A report shows at most so much of a key.
LONGEST_NAMED_KEY_BYTES = 200

#: Commands of ours whose subcommands have rules of their own: the whole command would be too much.
_WITH_SUBCOMMANDS = frozenset(
    {"client", "cluster", "config", "latency", "memory", "object", "slowlog", "xinfo"}
)
_DENIED_COMMAND = re.compile(r"'(?P<command>[a-z0-9_.|-]+)' command", re.IGNORECASE)


class HasUrl(Protocol):
    """A target that is reached by a URL: its secret is resolved at the last moment."""

    @property
    def timeout_seconds(self) -> float:
        """Longest wait for a connection or an answer."""

    def resolved_url(self) -> str:
        """Return the URL with its secret."""


class _ReadsManyReplies:
    """Reads the replies of a whole batch in one call.

    ``Connection.read_response`` formats an error prefix and looks for health checks on every
    reply, and its parser looks for push messages, which RESP2 does not have: together more than
    the reply itself costs. With 20,000 streams that is half the run, so the replies are taken
    from hiredis in one sweep.
    """

    _parser: Any

    def read_replies(self, count: int) -> list[Any]:
        """Return ``count`` replies in order; an error reply is a value, not an exception.

        Raises ``redis.ConnectionError`` where the connection breaks, or a reply says that the
        server cannot be used at all (it is loading its data).
        """
        try:
            replies = self._sweep(count)
        except OSError as error:
            self._drop()
            raise redis.ConnectionError(f"Error while reading: {error.args}") from error
        except BaseException:
            # Unread replies would answer the next command: this connection is spent.
            self._drop()
            raise
        # By their few types: to ask of each of thousands whether it is an error takes its time.
        if any(issubclass(kind, redis.ConnectionError) for kind in set(map(type, replies))):
            self._drop()
            raise next(reply for reply in replies if isinstance(reply, redis.ConnectionError))
        return replies

    def _sweep(self, count: int) -> list[Any]:
        parser = self._parser
        if not isinstance(parser, _HiredisParser):
            return [parser.read_response() for _ in range(count)]
        if parser._reader is None:
            raise redis.ConnectionError("The connection was closed.")
        ready = partial(iter, parser._reader.gets, NOT_ENOUGH_DATA)
        replies = list(islice(ready(), count))
        while len(replies) < count:
            parser.read_from_socket()  # type: ignore[no-untyped-call]
            replies += islice(ready(), count - len(replies))
        return replies

    def _drop(self) -> None:
        self.disconnect()  # type: ignore[attr-defined]


class BatchConnection(_ReadsManyReplies, Connection):
    """TCP."""


class BatchSSLConnection(_ReadsManyReplies, SSLConnection):
    """TCP with TLS."""


class BatchUnixConnection(_ReadsManyReplies, UnixDomainSocketConnection):
    """A Unix socket."""


_CONNECTION_CLASSES: dict[str, type[Any]] = {
    "rediss": BatchSSLConnection,
    "unix": BatchUnixConnection,
}


def connection_class_of(url: str) -> type[AbstractConnection]:
    """Return what speaks to such a URL, TLS and sockets included, and reads whole batches of replies.

    Where a class is given, redis-py takes it in the place of the URL's own.
    """
    return _CONNECTION_CLASSES.get(url.partition(":")[0].lower(), BatchConnection)


def connect(target: HasUrl) -> redis.Redis:
    """Connect to ``target`` and prove it by one PING.

    Nothing is retried here: a run is retried as a whole, with backoff. Raises
    :class:`TargetUnavailable` with the address, :class:`MissingRights` for a refused login and
    :class:`ConfigurationError` for a URL that is none of a Redis server.
    """
    url = primary_url(target)
    return _connected(url, target.timeout_seconds)


def _connected(url: str, timeout_seconds: float) -> redis.Redis:
    client = redis.Redis.from_pool(_pool(url, timeout_seconds))
    with explained_errors(url):
        try:
            client.ping()
        except redis.RedisError:
            client.close()
            raise
    return client


def _pool(url: str, timeout_seconds: float) -> redis.ConnectionPool:
    try:
        return redis.ConnectionPool.from_url(
            url,
            connection_class=connection_class_of(url),
            # RESP2: every reply read here is the same in both, and the handshake is shorter.
            protocol=2,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=Retry(NoBackoff(), 0),
            redis_connect_func=_introduce,
        )
    except ValueError:
        raise ConfigurationError(
            f"{address_of(url)} is not the URL of a Redis server. Write"
            " redis://user:password@host:port/database, rediss://... for TLS or unix://path for"
            " a socket; quote special characters of the password (%40 for @)."
        ) from None


def _introduce(connection: Connection) -> None:
    """Log in, then give the connection a name where the ACL allows it."""
    connection.on_connect()  # type: ignore[no-untyped-call]
    connection.send_command("CLIENT", "SETNAME", CLIENT_NAME)  # type: ignore[no-untyped-call]
    try:
        connection.read_response()
    except redis.exceptions.NoPermissionError:
        # The name only helps a person who reads CLIENT LIST; trimming works without that right.
        return


@contextmanager
def session(target: HasUrl) -> Iterator[redis.Redis]:
    """Open a connection, explain every error inside the block, close at its end."""
    url = primary_url(target)
    client = _connected(url, target.timeout_seconds)
    try:
        with explained_errors(url):
            yield client
    finally:
        client.close()


@contextmanager
def explained_errors(url: str) -> Iterator[None]:
    """Turn redis-py's errors into :class:`TargetUnavailable` and :class:`MissingRights`."""
    try:
        yield
    except redis.RedisError as error:
        explained = explain(error, url)
        if explained is None:
            raise
        raise explained from None


def explain(error: Exception, url: str) -> TargetUnavailable | MissingRights | None:
    """Say what ``error`` means for an operator; ``None`` where it is no matter of the server."""
    address = address_of(url)
    if isinstance(error, redis.exceptions.NoPermissionError):
        return MissingRights(f"{address} refused: {_missing_right(str(error))}.")
    if isinstance(error, redis.AuthenticationError | redis.exceptions.AuthorizationError):
        return MissingRights(
            f"{address} refused the login: {_text(error)}. Check the user and the password in"
            " the URL of this target."
        )
    for kind, sentence in _SENTENCES.items():
        if isinstance(error, kind):
            return TargetUnavailable(f"{address} {sentence.format(_text(error))}")
    return None


#: In this order: the first class that fits speaks.
_SENTENCES: dict[type[Exception], str] = {
    redis.BusyLoadingError: (
        "is still loading its data set into memory; it answers when that is done."
    ),
    redis.ReadOnlyError: (
        "became a read-only replica during the run (a failover?). What was done is safe to"
        " repeat; point the target at the primary if this stays."
    ),
    redis.ConnectionError: (
        "cannot be reached: {}. Check that the server runs, and the host and port of this target."
    ),
    redis.TimeoutError: (
        "did not answer in time: {}. Check its load (SLOWLOG GET), or raise timeout_seconds."
    ),
    redis.ResponseError: "answered with an error: {}.",
}


def _text(error: Exception) -> str:
    return redact(str(error)).rstrip(". ")


def _missing_right(message: str) -> str:
    """Name the ACL rule that is missing (Redis 6.2 to 8 and Valkey word it differently)."""
    denied = _DENIED_COMMAND.search(message)
    if denied:
        command = denied["command"].lower()
        if command in _WITH_SUBCOMMANDS and "or its subcommand" in message:
            return (
                f"needs ACL +{command}|..., and Redis 6.2 does not tell which subcommand;"
                " maintenance doctor names it"
            )
        return f"needs ACL +{command}"
    if "channel" in message:
        return "needs ACL access to the channel (&pattern)"
    return "needs ACL access to the keys of this pattern (~pattern)"


def describe_key(key: bytes) -> str:
    """Return a key as text; bytes that are not UTF-8 are written as ``\\xNN``.

    Keys may be 512 MB long: of a very long one stands its beginning, and how long it is.
    """
    if len(key) <= LONGEST_NAMED_KEY_BYTES:
        return key.decode("utf-8", "backslashreplace")
    beginning = key[:LONGEST_NAMED_KEY_BYTES].decode("utf-8", "backslashreplace")
    return f"{beginning}... ({len(key):,} bytes)"
