"""How many pages a table would need: its sampled rows packed as a rewrite packs them.

Pure arithmetic. The layout is that of the PostgreSQL documentation, "Database Page Layout": a page
of 8192 bytes with a header of 24, and for each row a line pointer of 4 bytes and a tuple that is
padded to 8. The order of packing is that of VACUUM FULL: rows as they lie, each on the current page
if it fits (``raw_heap_insert`` in ``rewriteheap.c``).
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from maintenance.postgres.bloat.interval import mean_limits, t_quantile

BLOCK_BYTES = 8192
#: What rows and their line pointers share on a page: the block without its header.
USABLE_PAGE_BYTES = BLOCK_BYTES - 24
LINE_POINTER_BYTES = 4
#: A heap page holds at most this many tuples (MaxHeapTuplesPerPage for 8 kB blocks).
MOST_TUPLES_PER_PAGE = 291
#: Gaps on fresh pages are looked at where a row may leave more than this share of a page unused.
LARGEST_IGNORED_GAP_RATIO = 0.05
#: Fewer runs of pages say nothing about their spread.
FEWEST_RUNS = 4
RUN_REPEATS = 3


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


def pack(samples: Sequence[PageSample], fill_percent: int = 100) -> float:
    """Return how many fresh pages the rows fill in their order; the last counts for its share."""
    room = page_room_bytes(fill_percent)
    closed = closed_bytes = used = on_page = 0
    for sample in samples:
        for size in sample.tuple_bytes:
            item = size + LINE_POINTER_BYTES
            if on_page and (used + item > room or on_page == MOST_TUPLES_PER_PAGE):
                closed += 1
                closed_bytes += used
                used = on_page = 0
            used += item
            on_page += 1
    if closed:
        return closed + used / (closed_bytes / closed)
    if not on_page:
        return 0.0
    # Less than a page was seen: of rows of this size so many would fit.
    fitting = rows_per_page(used / on_page - LINE_POINTER_BYTES, fill_percent)
    return on_page / fitting


@dataclass(frozen=True, slots=True)
class Fill:
    """How well fresh pages fill: pages for each byte of rows, and its error as a share.

    The error is at the confidence of the interval, not one standard error.
    """

    pages_per_byte: float
    error_ratio: float = 0.0


def gaps_matter(samples: Sequence[PageSample]) -> bool:
    """Tell whether fresh pages are left with gaps that depend on which rows are neighbours.

    Rows of one size leave the same gap everywhere, and gaps behind short rows are small.
    """
    sizes = {size for sample in samples for size in sample.tuple_bytes}
    return len(sizes) > 1 and max(sizes) > USABLE_PAGE_BYTES * LARGEST_IGNORED_GAP_RATIO


def fill_of(
    samples: Sequence[PageSample],
    runs: Sequence[Sequence[PageSample]] = (),
    fill_percent: int = 100,
) -> Fill:
    """Return how fresh pages fill with rows as they follow each other in ``runs`` of pages.

    Without runs the pages of the sample are packed one after the other, which is right where
    neighbours are alike or gaps are small: see :func:`gaps_matter`.
    """
    filled = [run for run in runs if any(sample.rows for sample in run)]
    if len(filled) < FEWEST_RUNS:
        all_bytes = sum(sample.used_bytes for sample in samples)
        return Fill(pack(samples, fill_percent) / all_bytes if all_bytes else 0.0)
    # A run of few rows is packed over and over, or its last page would decide.
    pages = [pack([*run] * RUN_REPEATS, fill_percent) / RUN_REPEATS for run in filled]
    used = [sum(sample.used_bytes for sample in run) for run in filled]
    per_byte = sum(pages) / sum(used)
    residuals = [p - per_byte * size for p, size in zip(pages, used, strict=True)]
    spread = math.sqrt(sum(r * r for r in residuals) * len(filled) / (len(filled) - 1))
    return Fill(per_byte, t_quantile(len(filled) - 1) * spread / sum(pages))


def packed_size(
    samples: Sequence[PageSample],
    pages: int,
    fill_percent: int = 100,
    runs: Sequence[Sequence[PageSample]] = (),
) -> PackedSize:
    """Estimate the table from ``samples`` of its ``pages``.

    A sampled page's rows fill a share of a fresh page; the mean of these shares is what the table
    needs of its size. The interval is that of the mean, see :func:`mean_limits`, wider by what
    ``runs`` of neighbouring pages say of the gaps on fresh pages, and by one page, because a table
    has whole pages. Raises ``ValueError`` for an empty sample.
    """
    if not samples or pages < 1:
        raise ValueError("An estimate needs at least one sampled page.")
    count = len(samples)
    rows = sum(sample.rows for sample in samples)
    used = [sample.used_bytes for sample in samples]
    whole = count >= pages
    fill = fill_of(samples, () if whole else runs, fill_percent)
    needed_ratio = sum(used) * fill.pages_per_byte / count
    needed = min(pages, math.ceil(round(needed_ratio * pages, 6)))
    ratio = 1 - needed / pages
    low, high = ratio, ratio
    if not whole:
        least, most = mean_limits([size * fill.pages_per_byte for size in used], population=pages)
        uneven = fill.error_ratio * needed_ratio
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
        sampled_pages=count + sum(len(run) for run in runs),
    )


def counted_size(
    samples: Sequence[PageSample],
    pages: int,
    live_rows: int,
    fill_percent: int = 100,
    runs: Sequence[Sequence[PageSample]] = (),
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
    fill = fill_of(samples, runs, fill_percent)
    needed_pages = live_rows * all_bytes / rows * fill.pages_per_byte
    margin = 0.0
    if 1 < count < pages:
        mean_bytes = all_bytes / rows
        spread = sum((s.used_bytes - mean_bytes * s.rows) ** 2 for s in samples) / (count - 1)
        error = math.sqrt(spread * count * (1 - count / pages)) / all_bytes
        doubt = math.hypot(t_quantile(count - 1) * error, fill.error_ratio)
        margin = doubt * needed_pages / pages
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
