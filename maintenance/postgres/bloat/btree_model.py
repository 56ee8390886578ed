"""How large a freshly built btree would be: a model that knows deduplication.

Pure arithmetic over a sample of the entries. Layout and limits are those of the PostgreSQL
documentation, "B-Tree Implementation" and "Deduplication", and of ``nbtsort.c`` and ``nbtree.h``.
"""

import math
import random
from collections.abc import Iterable, Iterator, Sequence
from functools import cache, lru_cache
from typing import NamedTuple

BLOCK_BYTES = 8192
LINE_POINTER_BYTES = 4
#: A page without its header (24), the btree's special space (16) and the high key's line pointer.
USABLE_PAGE_BYTES = BLOCK_BYTES - 24 - 16 - LINE_POINTER_BYTES
TUPLE_HEADER_BYTES = 8
TUPLE_HEADER_WITH_NULLS_BYTES = 16
#: A posting list keeps 6 bytes for each row that shares the key.
TID_BYTES = 6
#: CREATE INDEX ends a posting tuple at a tenth of a page (``maxpostingsize`` in ``nbtsort.c``).
LARGEST_POSTING_BYTES = BLOCK_BYTES // 10 // 8 * 8 - LINE_POINTER_BYTES
#: What must stay free for the heap TID that a high key may need.
HIGH_KEY_TID_BYTES = 8
#: So many pages are filled with the sampled entries: what a page leaves unused then comes out.
PAGES_FILLED = 12
#: A key of more rows is as good as several of so many full posting tuples.
LARGEST_KEY_POSTINGS = 16
#: Inner pages are filled to 70 % (BTREE_NONLEAF_FILLFACTOR).
INNER_FILL_PERCENT = 70


class Entry(NamedTuple):
    """One row's entry: the padded bytes of its index tuple, and how many rows share its key."""

    tuple_bytes: int
    rows_of_key: float = 1.0


def index_tuple_bytes(key_bytes: float, *, has_null: bool) -> int:
    """Return the padded size of an index tuple whose values take ``key_bytes``."""
    header = TUPLE_HEADER_WITH_NULLS_BYTES if has_null else TUPLE_HEADER_BYTES
    return align(header + key_bytes)


def align(size_bytes: float) -> int:
    """Round up to a multiple of 8 (MAXALIGN)."""
    return math.ceil(size_bytes / 8) * 8


def fresh_pages(
    entries: Sequence[Entry], rows: float, fill_percent: int = 90, *, deduplicates: bool = True
) -> int:
    """Return the pages of a newly built index of ``rows`` entries, of which ``entries`` are a sample.

    One meta page, leaves, and inner pages.
    """
    if rows < 1 or not entries:
        return 1
    leaves = max(
        1, math.ceil(rows * leaves_per_row(entries, fill_percent, deduplicates=deduplicates))
    )
    mean_item = sum(entry.tuple_bytes for entry in entries) / len(entries) + LINE_POINTER_BYTES
    return 1 + leaves + _inner_pages(leaves, mean_item)


def leaves_per_row(
    entries: Sequence[Entry], fill_percent: int = 90, *, deduplicates: bool = True
) -> float:
    """Return the leaf pages that one row takes: its bytes, and how many fit on a page.

    The bytes are those of all entries, exactly; only what pages leave unused is found by filling some
    with sampled entries, of which a few large keys would make another number each time.
    """
    if not deduplicates:
        all_bytes = sum(entry.tuple_bytes + LINE_POINTER_BYTES for entry in entries)
        times = math.ceil(PAGES_FILLED * BLOCK_BYTES / all_bytes)
        singles = [(entry.tuple_bytes, 0) for entry in entries] * times
        return _filled_pages_per_byte(singles, fill_percent) * all_bytes / len(entries)
    # Keys of very many rows fill pages of their own.
    frequent: list[Entry] = []
    others: list[Entry] = []
    for entry in entries:
        (frequent if _is_frequent(entry) else others).append(entry)
    return sum(
        sum(_key_bytes_per_row(entry) for entry in part)
        / len(entries)
        * _filled_pages_per_byte(_keys_in_turn(part), fill_percent, pages=PAGES_FILLED)
        for part in (others, frequent)
        if part
    )


def _filled_pages_per_byte(
    items: Iterable[tuple[int, int]], fill_percent: int, pages: float = math.inf
) -> float:
    """Fill pages as ``_bt_buildadd`` does with items of (bytes, bytes of its posting list).

    Returns the pages for a byte of items and their line pointers.

    A page ends when the next item finds no room, or the fillfactor's reserve is reached, for which
    the last posting list does not count: the last item moves to the next page, and its key alone
    stays behind as the high key.
    """
    reserve = BLOCK_BYTES * (100 - fill_percent) // 100
    closed = closed_bytes = used = last = last_posting = 0
    item_bytes = 0
    for size, posting_bytes in items:
        free = USABLE_PAGE_BYTES - used - LINE_POINTER_BYTES
        if used > last and (free < size + HIGH_KEY_TID_BYTES or free + last_posting < reserve):
            closed += 1
            closed_bytes += used - last
            used = last
            if closed == pages:
                break
        item_bytes += size + LINE_POINTER_BYTES
        used += size + LINE_POINTER_BYTES
        last, last_posting = size + LINE_POINTER_BYTES, posting_bytes
    if closed:
        return (closed + used / (closed_bytes / closed)) / item_bytes
    return used / _leaf_room_bytes(fill_percent) / item_bytes


@lru_cache(maxsize=4096)
def _key_bytes_per_row(entry: Entry) -> float:
    """Return what one of the rows of a key takes of its items and their line pointers."""
    rows = _rows_in_turn(entry)
    items = _posting_tuples(entry.tuple_bytes, rows, _rows_per_posting(entry.tuple_bytes))
    return sum(size + LINE_POINTER_BYTES for size, _posting in items) / rows


def _rows_in_turn(entry: Entry) -> int:
    most = _rows_per_posting(entry.tuple_bytes)
    return max(1, min(round(entry.rows_of_key), LARGEST_KEY_POSTINGS * most))


def _keys_in_turn(entries: Sequence[Entry]) -> Iterator[tuple[int, int]]:
    """Yield index tuples of keys without end: a key of many rows has many entries, and one turn."""
    rng = random.Random(len(entries))  # noqa: S311 - the same entries fill the same pages
    weights = [1 / max(1.0, entry.rows_of_key) for entry in entries]
    while True:
        for entry in rng.choices(entries, weights, k=500):
            most = _rows_per_posting(entry.tuple_bytes)
            yield from _posting_tuples(entry.tuple_bytes, _rows_in_turn(entry), most)


def _is_frequent(entry: Entry) -> bool:
    most = _rows_per_posting(entry.tuple_bytes)
    return most > 1 and entry.rows_of_key >= LARGEST_KEY_POSTINGS * most


def _posting_tuples(size: int, rows: int, most: int) -> Iterator[tuple[int, int]]:
    while rows > 0:
        here = min(rows, most)
        whole = align(size + here * TID_BYTES) if here > 1 else size
        yield whole, whole - size
        rows -= here


@cache
def _rows_per_posting(tuple_bytes: int) -> int:
    return max(1, (LARGEST_POSTING_BYTES // 8 * 8 - tuple_bytes) // TID_BYTES)


@lru_cache(maxsize=4096)
def bytes_per_row(entry: Entry) -> float:
    """Return about what one row takes in a leaf when its key is deduplicated."""
    rows, most = max(1.0, entry.rows_of_key), _rows_per_posting(entry.tuple_bytes)
    if rows < 2 or most < 2:
        return float(entry.tuple_bytes + LINE_POINTER_BYTES)
    # As if all posting tuples were full but the last, whose padding is left out.
    postings = math.ceil(rows / most)
    return TID_BYTES + postings * (entry.tuple_bytes + LINE_POINTER_BYTES) / rows


def _inner_pages(leaves: int, item_bytes: float) -> int:
    """Pages above the leaves: each holds a key and a downlink for every page below it."""
    room = USABLE_PAGE_BYTES - BLOCK_BYTES * (100 - INNER_FILL_PERCENT) // 100
    fan_out = max(2, math.floor(room / item_bytes))
    pages, level = 0, leaves
    while level > 1:
        level = math.ceil(level / fan_out)
        pages += level
    return pages


def fresh_pages_by_density(leaf_pages: int, density_ratio: float, fill_percent: int = 90) -> int:
    """Return the pages of a rebuilt index from how full its leaves are now, as pgstatindex says."""
    if leaf_pages < 1:
        return 1
    usable = USABLE_PAGE_BYTES + LINE_POINTER_BYTES
    used = leaf_pages * density_ratio * usable
    high_key = TUPLE_HEADER_BYTES * 2 + LINE_POINTER_BYTES
    leaves = max(1, math.ceil(used / (_leaf_room_bytes(fill_percent) + high_key)))
    return 1 + leaves + _inner_pages(leaves, high_key)


def _leaf_room_bytes(fill_percent: int) -> int:
    """What items of a fresh leaf take before the next leaf is begun."""
    reserve = BLOCK_BYTES * (100 - fill_percent) // 100
    return USABLE_PAGE_BYTES - LINE_POINTER_BYTES - reserve


def bloat_ratio(pages: int, fresh: int) -> float:
    """Return the share of ``pages`` that a rebuild to ``fresh`` pages would give back, 0 to 1."""
    return max(0.0, 1 - fresh / pages) if pages > 0 else 0.0
