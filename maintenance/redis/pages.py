"""Keys of a family a page at a time, each page with what a look at its keys answered.

A page is looked at on a connection of its own and one page ahead: the server works on the next look
while this one is judged. Memory holds two pages, however many keys there are.
"""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, islice
from typing import Any

from maintenance.redis_client.batch_size import BatchSize, clocked
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
    and named at no cost, where TYPE would hide it. Each batch is the SCAN of the next page and then
    the look at this one, so that the next batch can leave before the look is read.
    """

    def scan(cursor: bytes) -> bytes:
        return pack(b"SCAN", cursor, b"MATCH", pattern, b"COUNT", b"%d" % size.units)

    def send(cursor: bytes, keys: Sequence[bytes]) -> int:
        following = [] if cursor == b"0" else [scan(cursor)]
        exchange.send(clocked([*following, *_commands(look, keys)]))
        return max(size.units if following else 0, len(keys))

    exchange.send([scan(b"0")])
    cursor, following = _scan_reply(exchange.receive(1)[0])
    units = send(cursor, following)
    while True:
        keys, ends, looked_at = following, cursor == b"0", units
        (began,) = exchange.receive(1, last=False)
        if not ends:
            cursor, following = _scan_reply(exchange.receive(1, last=False)[0])
            units = send(cursor, following)
        *answers, ended = exchange.receive(len(keys) * len(look) + 1)
        size.take(looked_at, began, ended)
        yield keys, _columns(answers, len(keys), len(look))
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
