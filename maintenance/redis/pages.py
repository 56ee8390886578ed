"""Keys of a family a page at a time, each page with what a look at its keys answered.

A page is looked at on a connection of its own and one page ahead: the server works on the next look
while this one is judged. Memory holds two pages, however many keys there are.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from maintenance.redis_client.batch_size import BatchSize, clocked, seconds_between
from maintenance.redis_client.packed import Exchange, Packer, pack

#: The keys of a page, and for each command of the look one answer a key.
Page = tuple[Sequence[bytes], list[list[Any]]]

#: Where a page begins, and what it never shrinks below: smaller ones are all round trip.
FIRST_PAGE_KEYS = 250
SMALLEST_PAGE_KEYS = 32


def page_size(largest_keys: int) -> BatchSize:
    """Return the adaptive size of pages of at most ``largest_keys`` keys."""
    return BatchSize(FIRST_PAGE_KEYS, smallest=SMALLEST_PAGE_KEYS, largest=largest_keys)


def scanned(
    exchange: Exchange, pattern: bytes, look: Sequence[Packer], size: BatchSize
) -> Iterator[Page]:
    """Yield the keys of the whole database that match ``pattern``.

    SCAN goes without TYPE: a key of another type answers the look with WRONGTYPE, so it is counted
    and named at no cost, where TYPE would hide it. The SCAN of the next page leaves before the look
    at this one is packed, so that the server has something to do meanwhile, and both leave before
    the look at the page before is read.
    """

    def scan(cursor: bytes) -> None:
        command = pack(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % size.units)
        exchange.send(clocked([command]))

    def follow(cursor: bytes, keys: Sequence[bytes]) -> None:
        if cursor != b"0":
            scan(cursor)
        exchange.send(clocked(_commands(look, keys)))

    def scanned_page() -> tuple[bytes, list[bytes], float | None]:
        began, reply, ended = exchange.receive(3)
        return *_scan_reply(reply), seconds_between(began, ended)

    walked = size.units
    scan(b"0")
    cursor, keys, scan_seconds = scanned_page()
    following = size.units
    follow(cursor, keys)
    while True:
        page, ends, units, seconds = keys, cursor == b"0", max(walked, len(keys)), scan_seconds
        if not ends:
            cursor, keys, scan_seconds = scanned_page()
            walked, following = following, size.units
            follow(cursor, keys)
        began, *answers, ended = exchange.receive(len(page) * len(look) + 2)
        size.take(units, began, ended, seconds_before=seconds)
        yield page, _columns(answers, len(page), len(look))
        if ends:
            return


def given(
    exchange: Exchange, keys: Iterable[bytes], look: Sequence[Packer], size: BatchSize
) -> Iterator[Page]:
    """Yield the keys that somebody names, in their order."""
    batches = ((page, clocked(_commands(look, page))) for page in _chunks(keys, size))
    for page, (began, *answers, ended) in exchange.run_ahead(batches):
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
