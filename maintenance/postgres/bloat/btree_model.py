"""How large a freshly built btree would be: a model that knows deduplication.

Pure arithmetic. Layout and limits are those of the PostgreSQL documentation, "B-Tree
Implementation" and "Deduplication", and of ``nbtree.h``.
"""

import math
from dataclasses import dataclass

BLOCK_BYTES = 8192
#: A page without its header (24) and the btree's special space (16).
USABLE_PAGE_BYTES = BLOCK_BYTES - 24 - 16
LINE_POINTER_BYTES = 4
TUPLE_HEADER_BYTES = 8
TUPLE_HEADER_WITH_NULLS_BYTES = 16
#: A posting list keeps 6 bytes for each row that shares the key.
TID_BYTES = 6
#: CREATE INDEX ends a posting tuple at a tenth of a page: 812 bytes, of which 808 are aligned.
LARGEST_POSTING_BYTES = 808
#: Up to so many rows a key their spread matters; beyond, alignment and rests even out.
MOST_SPREAD_ROWS = 50
#: Inner pages are filled to 70 % (BTREE_NONLEAF_FILLFACTOR).
INNER_FILL_RATIO = 0.7


@dataclass(frozen=True, slots=True)
class KeyGroup:
    """Keys that are about equally frequent: ``rows`` entries over ``keys`` distinct keys.

    ``spread`` says that the rows fall on the keys by chance, as references do, rather than evenly.
    """

    keys: float
    rows: float
    spread: bool = True


@dataclass(frozen=True, slots=True)
class KeyStatistics:
    """What the model needs to know of an index.

    ``groups`` hold all its entries by how often their keys occur; ``key_bytes`` is the mean size of
    a key's values, aligned, without the tuple header; ``null_ratio`` the share of rows with a
    null among the columns; ``fill_ratio`` the fillfactor as 0 to 1.
    """

    groups: tuple[KeyGroup, ...]
    key_bytes: float
    null_ratio: float
    fill_ratio: float
    deduplicates: bool

    @property
    def rows(self) -> float:
        """All entries."""
        return sum(group.rows for group in self.groups)


def align(size_bytes: float) -> int:
    """Round up to a multiple of 8 (MAXALIGN)."""
    return math.ceil(size_bytes / 8) * 8


def fresh_pages(keys: KeyStatistics) -> int:
    """Return the pages of a newly built index: one meta page, leaves, and inner pages."""
    if keys.rows < 1:
        return 1
    item_bytes = _mean_item_bytes(keys)
    # Each leaf but the last repeats the first key of the next one as its high key.
    room = USABLE_PAGE_BYTES * keys.fill_ratio - item_bytes
    leaf_bytes = _leaf_bytes(keys, item_bytes)
    leaves = max(1, math.ceil(leaf_bytes / max(room, item_bytes)))
    return 1 + leaves + _inner_pages(leaves, item_bytes)


def _mean_item_bytes(keys: KeyStatistics) -> float:
    """The mean size of a plain index tuple with its line pointer."""
    without = align(TUPLE_HEADER_BYTES + keys.key_bytes)
    with_nulls = align(TUPLE_HEADER_WITH_NULLS_BYTES + keys.key_bytes)
    mean = without * (1 - keys.null_ratio) + with_nulls * keys.null_ratio
    return mean + LINE_POINTER_BYTES


def _leaf_bytes(keys: KeyStatistics, item_bytes: float) -> float:
    if not keys.deduplicates:
        return keys.rows * item_bytes
    return sum(_group_bytes(group, item_bytes) for group in keys.groups if group.rows >= 1)


def _group_bytes(group: KeyGroup, item_bytes: float) -> float:
    distinct = max(1.0, min(group.keys, group.rows))
    rows_per_key = group.rows / distinct
    if group.spread and 1 < rows_per_key <= MOST_SPREAD_ROWS:
        return distinct * _expected_key_bytes(rows_per_key, item_bytes)
    return distinct * _key_bytes(rows_per_key, item_bytes)


def _expected_key_bytes(rows_per_key: float, item_bytes: float) -> float:
    """Return the mean size of a key whose number of rows is a zero-truncated Poisson variable."""
    rate = _truncated_poisson_rate(rows_per_key)
    probability = rate * math.exp(-rate) / -math.expm1(-rate)  # of exactly one row
    expected, mass, count = 0.0, 0.0, 1
    while mass < 1 - 1e-6 and count < 20 * MOST_SPREAD_ROWS:
        expected += probability * _key_bytes(count, item_bytes)
        mass += probability
        count += 1
        probability *= rate / count
    return expected


def _truncated_poisson_rate(mean: float) -> float:
    """Solve ``rate / (1 - exp(-rate)) = mean`` for a mean above 1, by bisection."""
    low, high = 0.0, mean
    for _step in range(50):
        rate = (low + high) / 2
        if rate / -math.expm1(-rate) < mean:
            low = rate
        else:
            high = rate
    return (low + high) / 2


def _key_bytes(rows: float, item_bytes: float) -> float:
    """Return what one key with ``rows`` entries takes: full posting tuples and the rest."""
    tuple_bytes = item_bytes - LINE_POINTER_BYTES
    rows_per_posting = math.floor((LARGEST_POSTING_BYTES - tuple_bytes) / TID_BYTES)
    if rows < 2 or rows_per_posting < 2:
        return rows * item_bytes
    full = math.floor(rows / rows_per_posting)
    rest = rows - full * rows_per_posting
    size = full * (align(tuple_bytes + rows_per_posting * TID_BYTES) + LINE_POINTER_BYTES)
    if rest >= 2:
        return size + align(tuple_bytes + rest * TID_BYTES) + LINE_POINTER_BYTES
    return size + rest * item_bytes


def _inner_pages(leaves: int, item_bytes: float) -> int:
    """Pages above the leaves: each holds a key and a downlink for every page below it."""
    fan_out = max(2, math.floor(USABLE_PAGE_BYTES * INNER_FILL_RATIO / item_bytes))
    pages, level = 0, leaves
    while level > 1:
        level = math.ceil(level / fan_out)
        pages += level
    return pages


def bloat_ratio(pages: int, keys: KeyStatistics) -> float:
    """Return the share of ``pages`` that a rebuild would give back, 0 to 1."""
    if pages < 1:
        return 0.0
    return max(0.0, 1 - fresh_pages(keys) / pages)
