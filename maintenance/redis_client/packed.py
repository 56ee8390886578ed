"""Commands packed to bytes by hand and exchanged a batch at a time.

A redis-py pipeline spends most of its time on building and parsing one command at a time; packing
a thousand equal commands as bytes and reading their replies in one go is two to three times as
fast, without a script on the server and with nothing but the plain commands in the ACL.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import groupby
from typing import Any, TypeVar

import redis
from redis.connection import ConnectionInterface

SubjectT = TypeVar("SubjectT")

#: A batch is sent in pieces of this size: keys may be a megabyte long, and the server reads a
#: client's whole query buffer into memory before it answers.
PIECE_BYTES = 256 * 1024


def pack(*words: bytes) -> bytes:
    """Return one command in the protocol's form (RESP, "Sending commands to a Redis server")."""
    return b"*%d\r\n" % len(words) + b"".join([b"$%d\r\n%b\r\n" % (len(w), w) for w in words])


class Packer:
    """Packs the same command for many keys: everything but the key is packed once."""

    def __init__(self, before_key: Sequence[bytes], after_key: Sequence[bytes] = ()) -> None:
        """Prepare ``before_key... <key> after_key...``."""
        count = len(before_key) + 1 + len(after_key)
        head = b"*%d\r\n" % count + b"".join([b"$%d\r\n%b\r\n" % (len(w), w) for w in before_key])
        tail = b"".join([b"\r\n$%d\r\n%b" % (len(w), w) for w in after_key]) + b"\r\n"
        # "%" in a literal part would be read as a format.
        self._format = head.replace(b"%", b"%%") + b"$%d\r\n%b" + tail.replace(b"%", b"%%")
        self._head, self._tail = head, tail

    def for_key(self, key: bytes) -> bytes:
        """Return the packed command for one key."""
        return self._format % (len(key), key)

    def for_keys(self, keys: Sequence[bytes]) -> list[bytes]:
        """Return the packed commands for many keys."""
        form = self._format
        return [form % (len(key), key) for key in keys]

    def joined(self, keys: Iterable[bytes]) -> bytes:
        """Return the packed commands for many keys, in their order, as one text.

        Commands of keys of one length differ in nothing else: where such keys stand side by side, they
        are packed without a look at each.
        """
        parts: list[bytes] = []
        for length, alike in groupby(keys, len):
            before = self._head + b"$%d\r\n" % length
            parts += before, (self._tail + before).join(alike), self._tail
        return b"".join(parts)


class Exchange:
    """One connection on which batches are sent and their replies read.

    ``longest_seconds`` is the longest time that a batch took, from when the server could begin
    with it to when its last reply was read: an upper bound of what another client waited for it.
    """

    def __init__(self, connection: ConnectionInterface, check: Callable[[], None]) -> None:
        """Use ``connection`` for nothing else meanwhile; see :func:`exchange` for ``check``."""
        self._connection = connection
        self._check = check
        # Connections made by ``connection.connect`` read faster than those of a Django cache.
        self._read = getattr(connection, "read_replies", None) or self._read_one_by_one
        self._idle_since = time.perf_counter()
        self._sent: deque[float] = deque()
        self.longest_seconds = 0.0

    def run(self, commands: Sequence[bytes]) -> list[Any]:
        """Send packed ``commands`` and return their replies in order.

        An error reply is returned as a ``redis.ResponseError``; a broken connection is raised.
        """
        replies: list[Any] = []
        for piece in _pieces(commands):
            self.send(piece)
            replies += self.receive(len(piece))
        return replies

    def run_ahead(
        self, batches: Iterable[tuple[SubjectT, Sequence[bytes]]]
    ) -> Iterator[tuple[SubjectT, list[Any]]]:
        """Run batches, each sent before the replies of the one before are read.

        The server never waits for this client; at most two batches are with it at a time.
        """
        under_way: deque[tuple[SubjectT, int]] = deque()
        for subject, commands in batches:
            self.send(commands)
            under_way.append((subject, len(commands)))
            if len(under_way) > 1:
                before, count = under_way.popleft()
                yield before, self.receive(count)
        for subject, count in under_way:
            yield subject, self.receive(count)

    def send(self, commands: Sequence[bytes]) -> None:
        """Send a batch ahead; each needs its own :meth:`receive`, in the same order."""
        self._check()
        self._sent.append(time.perf_counter())
        self._connection.send_packed_command([b"".join(commands)])  # type: ignore[no-untyped-call]

    def receive(self, count: int) -> list[Any]:
        """Read the ``count`` replies of the oldest batch under way."""
        replies = self._read(count)
        now = time.perf_counter()
        began = max(self._sent.popleft(), self._idle_since)
        self.longest_seconds = max(self.longest_seconds, now - began)
        self._idle_since = now
        return replies

    def _read_one_by_one(self, count: int) -> list[Any]:
        replies: list[Any] = []
        for _ in range(count):
            try:
                replies.append(self._connection.read_response(disable_decoding=True))
            except redis.ResponseError as error:
                replies.append(error)
        return replies


def _pieces(commands: Sequence[bytes]) -> Iterator[Sequence[bytes]]:
    if sum(map(len, commands)) <= PIECE_BYTES or len(commands) == 1:
        if commands:
            yield commands
        return
    middle = len(commands) // 2
    yield from _pieces(commands[:middle])
    yield from _pieces(commands[middle:])


@contextmanager
def exchange(client: redis.Redis, check: Callable[[], None] = lambda: None) -> Iterator[Exchange]:
    """Borrow one connection of ``client`` for batches.

    ``check`` is called right before each batch leaves, and raises where it must not: for what writes
    it is :meth:`maintenance.core.job.Progress.check`.
    """
    pool = client.connection_pool
    connection = pool.get_connection()
    try:
        yield Exchange(connection, check)
    except BaseException:
        # Replies under way would answer the next one who borrows it.
        connection.disconnect()  # type: ignore[no-untyped-call]
        raise
    finally:
        pool.release(connection)


#: What :func:`touch_nothing` takes; on servers that know it.
NO_TOUCH_ACL = "+client|no-touch"


def touch_nothing(exchange: Exchange) -> None:
    """Have the connection's reads leave no trace in the times and counts of use, where that is known.

    Redis 7.2 and Valkey know CLIENT NO-TOUCH; on others, or without the right, reads count as uses.
    """
    exchange.run([pack(b"CLIENT", b"NO-TOUCH", b"ON")])


def raise_first_error(replies: Sequence[Any]) -> None:
    """Raise the first error reply, if there is one."""
    for reply in replies:
        if isinstance(reply, Exception):
            raise reply
