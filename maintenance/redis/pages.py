"""Keys of a family a page at a time, each page with what a look at its keys answered.

SCANs go on a connection of their own, looks at keys on another, and both some pages ahead: the server
works on the next looks while this page is judged. Memory holds few pages, however many keys there are.
"""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from typing import Any

import redis

from maintenance.redis_client.batch_size import BatchSize, clocked, seconds_between
from maintenance.redis_client.packed import Exchange, Packer, exchange, pack, touch_nothing

#: The keys of a page, and for each command of the look one answer a key.
Page = tuple[Sequence[bytes], list[list[Any]]]

#: Where a page begins, and what it never shrinks below: smaller ones are all round trip.
FIRST_PAGE_KEYS = 250
SMALLEST_PAGE_KEYS = 32
#: So many pages are with the server or on their way: the cursor of each comes with the keys of the
#: one before, so that with fewer the server waits for us, and only larger pages would make up for it,
#: for which other clients wait. Measured on a million keys; more than four change nothing.
PAGES_AHEAD = 4
#: The server's time for a page, its SCAN and its look. Others wait for two looks, or writes, at most.
PAGE_SECONDS = 0.0004


@dataclass(frozen=True, slots=True)
class Looks:
    """Two connections to one server, of which neither waits for the other's replies."""

    scans: Exchange
    keys: Exchange


@contextmanager
def looking(client: redis.Redis) -> Iterator[Looks]:
    """Borrow two connections of ``client`` for looks at its keys.

    Where the server can be told so, a look is no use of a key: else a daily walk over a million streams
    would make them the last that it evicts. ``client`` is a session of ours, and ends with it.
    """
    with exchange(client) as scans, exchange(client) as keys:
        touch_nothing(keys)
        yield Looks(scans, keys)


def page_size(largest_keys: int) -> BatchSize:
    """Return the adaptive size of pages of at most ``largest_keys`` keys."""
    return BatchSize(
        FIRST_PAGE_KEYS,
        smallest=SMALLEST_PAGE_KEYS,
        largest=largest_keys,
        target_seconds=PAGE_SECONDS,
    )


def scanned(
    looks: Looks, pattern: bytes, look: Sequence[Packer], size: BatchSize
) -> Iterator[Page]:
    """Yield the keys of the whole database that match ``pattern``; ``look`` may be empty.

    SCAN goes without TYPE: a key of another type answers the look with WRONGTYPE, so it is counted
    and named at no cost, where TYPE would hide it.
    """
    walk = _Walk(looks, pattern, look, size)
    under_way: deque[_ScannedPage] = deque()
    while under_way or not walk.is_over:
        while not walk.is_over and len(under_way) < PAGES_AHEAD:
            under_way.append(walk.next_page())
        page = under_way.popleft()
        yield page.keys, walk.answers(page)


@dataclass(frozen=True, slots=True)
class _ScannedPage:
    """The keys that one SCAN returned, how many it walked over, and the server's clock beside it."""

    keys: list[bytes]
    walked: int
    began: Any
    ended: Any


class _Walk:
    """SCAN after SCAN, each sent as soon as its cursor is known, and a look at what they return."""

    def __init__(
        self, looks: Looks, pattern: bytes, look: Sequence[Packer], size: BatchSize
    ) -> None:
        self.is_over = False
        self._looks = looks
        self._pattern = pattern
        self._look = look
        self._size = size
        self._asked = 0
        self._scan(b"0")

    def next_page(self) -> _ScannedPage:
        """Receive a page, and send the next SCAN before the look at this one is packed."""
        asked = self._asked
        began, reply, ended = self._looks.scans.receive(3)
        cursor, keys = _scan_reply(reply)
        self.is_over = cursor == b"0"
        if not self.is_over:
            self._scan(cursor)
        if self._look:
            keys.sort(key=len)  # they come in no order, and are packed the faster so
            self._looks.keys.send(clocked([packer.joined(keys) for packer in self._look]))
        return _ScannedPage(keys, max(asked, len(keys)), began, ended)

    def answers(self, page: _ScannedPage) -> list[list[Any]]:
        """Receive what the look at a page answered, a column a command; pages come in their order."""
        if not self._look:
            self._size.take(page.walked, page.began, page.ended)
            return []
        scan_seconds = seconds_between(page.began, page.ended)
        expected = len(page.keys) * len(self._look) + 2
        began, *answers, ended = self._looks.keys.receive(expected)
        self._size.take(page.walked, began, ended, seconds_before=scan_seconds)
        return _columns(answers, len(page.keys), len(self._look))

    def _scan(self, cursor: bytes) -> None:
        self._asked = self._size.units
        count = b"%d" % self._asked
        command = pack(b"SCAN", cursor, b"MATCH", self._pattern, b"COUNT", count)
        self._looks.scans.send(clocked([command]))


def given(
    looks: Looks, keys: Iterable[bytes], look: Sequence[Packer], size: BatchSize
) -> Iterator[Page]:
    """Yield the keys that somebody names, in their order."""
    batches = ((page, clocked(_commands(look, page))) for page in _chunks(keys, size))
    for page, (began, *answers, ended) in looks.keys.run_ahead(batches):
        size.take(len(page), began, ended)
        yield page, _columns(answers, len(page), len(look))


def _chunks(keys: Iterable[bytes], size: BatchSize) -> Iterator[list[bytes]]:
    remaining = iter(keys)
    while chunk := list(islice(remaining, size.units)):
        yield chunk


def _commands(look: Sequence[Packer], keys: Sequence[bytes]) -> list[bytes]:
    return list(chain.from_iterable(packer.for_keys(keys) for packer in look))


def _columns(answers: list[Any], keys: int, commands: int) -> list[list[Any]]:
    return [answers[number * keys : (number + 1) * keys] for number in range(commands)]


def _scan_reply(reply: Any) -> tuple[bytes, list[bytes]]:
    if isinstance(reply, Exception):
        raise reply
    cursor, keys = reply
    return cursor, keys
