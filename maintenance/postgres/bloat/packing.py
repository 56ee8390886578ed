"""How many pages a table would need: its sampled rows packed as a rewrite packs them.

Pure arithmetic. The layout is that of the PostgreSQL documentation, "Database Page Layout": a page
of 8192 bytes with a header of 24, and for each row a line pointer of 4 bytes and a tuple that is
padded to 8. The order of packing is that of VACUUM FULL: rows as they lie, each on the current page
if it fits (``raw_heap_insert`` in ``rewriteheap.c``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from maintenance.postgres.bloat.interval import Z, mean_limits, t_quantile

BLOCK_BYTES = 8192
#: What rows and their line pointers share on a page: the block without its header.
USABLE_PAGE_BYTES = BLOCK_BYTES - 24
LINE_POINTER_BYTES = 4
#: A heap page holds at most this many tuples (MaxHeapTuplesPerPage for 8 kB blocks).
MOST_TUPLES_PER_PAGE = 291


@dataclass(frozen=True, slots=True)
class PageSample:
    """The rows of one page that a query sees: padded bytes of their tuples, in page order."""

    tuple_bytes: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        """How many rows the page holds."""
        return len(self.tuple_bytes)

    @property
    def used_bytes(self) -> int:
        """What the rows take, with their line pointers."""
        return sum(self.tuple_bytes) + LINE_POINTER_BYTES * len(self.tuple_bytes)


@dataclass(frozen=True, slots=True)
class PackedSize:
    """An estimate for one table. Ratios are 0 to 1; the interval covers the truth in 95 %."""

    pages: int
    needed_pages: int
    live_rows: float
    mean_tuple_bytes: float
    bloat_ratio: float
    low_ratio: float
    high_ratio: float
    sampled_pages: int

    @property
    def bloat_bytes(self) -> int:
        """What a rewrite would give back."""
        return max(0, self.pages - self.needed_pages) * BLOCK_BYTES

    @property
    def uncertainty_ratio(self) -> float:
        """Half the width of the interval."""
        return (self.high_ratio - self.low_ratio) / 2


def page_room_bytes(fill_percent: int) -> int:
    """Return what a fresh page takes before the next is begun.

    The reserve of a ``fillfactor`` is counted from the whole block
    (``RelationGetTargetPageFreeSpace``).
    """
    return USABLE_PAGE_BYTES - BLOCK_BYTES * (100 - fill_percent) // 100


def rows_per_page(mean_tuple_bytes: float, fill_percent: int = 100) -> int:
    """Return how many rows of this one size a freshly written page takes; at least one."""
    room = page_room_bytes(fill_percent)
    fitting = math.floor(room / (mean_tuple_bytes + LINE_POINTER_BYTES))
    return max(1, min(MOST_TUPLES_PER_PAGE, fitting))


@dataclass(frozen=True, slots=True)
class Packing:
    """Sampled rows on fresh pages. ``pages`` counts the last one for the share that is full.

    ``error_ratio`` is the standard error of ``pages`` from how unequally fresh pages fill, as a
    share of them: long rows leave gaps whose size is a matter of chance.
    """

    pages: float
    error_ratio: float


def pack(samples: Sequence[PageSample], fill_percent: int = 100) -> Packing:
    """Put the sampled rows on fresh pages, in their order."""
    room = page_room_bytes(fill_percent)
    closed = closed_bytes = squares = used = on_page = 0
    for sample in samples:
        for size in sample.tuple_bytes:
            item = size + LINE_POINTER_BYTES
            if on_page and (used + item > room or on_page == MOST_TUPLES_PER_PAGE):
                closed += 1
                closed_bytes += used
                squares += used * used
                used = on_page = 0
            used += item
            on_page += 1
    if closed:
        mean = closed_bytes / closed
        variance = max(0.0, squares / closed - mean * mean)
        return Packing(closed + used / mean, math.sqrt(variance / closed) / mean)
    if not on_page:
        return Packing(0.0, 0.0)
    # Less than a page was seen: of rows of this size so many would fit.
    fitting = rows_per_page(used / on_page - LINE_POINTER_BYTES, fill_percent)
    return Packing(on_page / fitting, 0.0)


def packed_size(samples: Sequence[PageSample], pages: int, fill_percent: int = 100) -> PackedSize:
    """Estimate the table from ``samples`` of its ``pages``.

    A sampled page's rows fill a share of a fresh page; the mean of these shares is what the table
    needs of its size. The interval is that of the mean, see :func:`mean_limits`, wider by how
    unequally fresh pages fill and by one page, because a table has whole pages.
    Raises ``ValueError`` for an empty sample.
    """
    if not samples or pages < 1:
        raise ValueError("An estimate needs at least one sampled page.")
    count = len(samples)
    rows = sum(sample.rows for sample in samples)
    packing = pack(samples, fill_percent)
    needed_ratio = packing.pages / count
    needed = min(pages, math.ceil(round(needed_ratio * pages, 6)))
    ratio = 1 - needed / pages
    low, high = ratio, ratio
    if count < pages:
        used = [sample.used_bytes for sample in samples]
        a_byte = packing.pages / sum(used) if rows else 0.0
        least, most = mean_limits([size * a_byte for size in used], population=pages)
        uneven = Z * packing.error_ratio * needed_ratio * math.sqrt(1 - count / pages)
        low = 1 - needed_ratio - math.hypot(most - needed_ratio, uneven) - 1 / pages
        high = 1 - needed_ratio + math.hypot(needed_ratio - least, uneven)
    return PackedSize(
        pages=pages,
        needed_pages=needed,
        live_rows=rows / count * pages,
        mean_tuple_bytes=sum(sum(s.tuple_bytes) for s in samples) / rows if rows else 0.0,
        bloat_ratio=ratio,
        low_ratio=min(ratio, max(0.0, low)),
        high_ratio=max(ratio, min(1.0, high)),
        sampled_pages=count,
    )


def counted_size(
    samples: Sequence[PageSample], pages: int, live_rows: int, fill_percent: int = 100
) -> PackedSize:
    """Estimate a table whose rows were counted: only their sizes come from ``samples``.

    The interval is that of a ratio (needed pages a row), by the spread of each page's residual.
    """
    count = len(samples)
    rows = sum(sample.rows for sample in samples)
    if not rows:
        # No row was seen: each may take a page of its own, or next to nothing.
        least = min(pages, math.ceil(live_rows / MOST_TUPLES_PER_PAGE))
        return PackedSize(
            pages, least, live_rows, 0.0, 1 - least / pages, 0.0, 1 - least / pages, count
        )
    all_bytes = sum(sample.used_bytes for sample in samples)
    pages_a_row = pack(samples, fill_percent).pages / rows
    needed_pages = live_rows * pages_a_row
    margin = 0.0
    if 1 < count < pages:
        mean_bytes = all_bytes / rows
        spread = sum((s.used_bytes - mean_bytes * s.rows) ** 2 for s in samples) / (count - 1)
        error = math.sqrt(spread * count * (1 - count / pages)) / all_bytes
        margin = t_quantile(count - 1) * error * needed_pages / pages
    needed = min(pages, math.ceil(round(needed_pages, 6)))
    ratio = 1 - needed / pages
    return PackedSize(
        pages=pages,
        needed_pages=needed,
        live_rows=live_rows,
        mean_tuple_bytes=sum(sum(s.tuple_bytes) for s in samples) / rows,
        bloat_ratio=ratio,
        low_ratio=max(0.0, ratio - margin - 1 / pages),
        high_ratio=min(1.0, ratio + margin + 1 / pages),
        sampled_pages=count,
    )
