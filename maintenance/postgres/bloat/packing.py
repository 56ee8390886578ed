"""How many pages a table would need: the packing model over a random sample of its pages.

Pure arithmetic. The layout is that of the PostgreSQL documentation, "Database Page Layout": a page
of 8192 bytes with a header of 24, and for each row a line pointer of 4 bytes and a tuple that is
padded to 8.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

BLOCK_BYTES = 8192
#: What rows and their line pointers share on a page: the block without its header.
USABLE_PAGE_BYTES = BLOCK_BYTES - 24
LINE_POINTER_BYTES = 4
#: A heap page holds at most this many tuples (MaxHeapTuplesPerPage for 8 kB blocks).
MOST_TUPLES_PER_PAGE = 291
#: Two-sided 95 % of the normal distribution.
Z_95 = 1.96


@dataclass(frozen=True, slots=True)
class PageSample:
    """What one page holds: rows that a query sees, and the bytes of their padded tuples."""

    rows: int
    tuple_bytes: int


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


def rows_per_page(mean_tuple_bytes: float, fill_ratio: float) -> int:
    """Return how many rows of this size a freshly written page takes; at least one.

    ``fill_ratio`` is the table's fillfactor as 0 to 1.
    """
    room = USABLE_PAGE_BYTES * fill_ratio
    fitting = math.floor(room / (mean_tuple_bytes + LINE_POINTER_BYTES))
    return max(1, min(MOST_TUPLES_PER_PAGE, fitting))


def packed_size(samples: Sequence[PageSample], pages: int, fill_ratio: float = 1.0) -> PackedSize:
    """Estimate the table from ``samples`` of its ``pages``.

    The pages that all rows need are ``rows / rows_per_page``. The interval comes from how unequally
    the sampled pages are filled, with the finite population correction: a sample of every page
    has none. Raises ``ValueError`` for an empty sample.
    """
    if not samples or pages < 1:
        raise ValueError("An estimate needs at least one sampled page.")
    count = len(samples)
    rows = sum(sample.rows for sample in samples)
    mean_bytes = sum(sample.tuple_bytes for sample in samples) / rows if rows else 0.0
    live_rows = rows / count * pages
    capacity = rows_per_page(mean_bytes, fill_ratio)
    needed = min(pages, math.ceil(live_rows / capacity)) if rows else 0

    ratio = 1 - needed / pages
    margin = _margin(samples, pages, fill_ratio)
    return PackedSize(
        pages=pages,
        needed_pages=needed,
        live_rows=live_rows,
        mean_tuple_bytes=mean_bytes,
        bloat_ratio=ratio,
        low_ratio=max(0.0, ratio - margin),
        high_ratio=min(1.0, ratio + margin),
        sampled_pages=count,
    )


def _margin(samples: Sequence[PageSample], pages: int, fill_ratio: float) -> float:
    """Half the width of the 95 % interval of the mean share of a page that is in use."""
    count = len(samples)
    if count >= pages:
        return 0.0
    if count < 2:
        return 1.0
    room = USABLE_PAGE_BYTES * fill_ratio
    used = [min(1.0, (s.tuple_bytes + s.rows * LINE_POINTER_BYTES) / room) for s in samples]
    mean = sum(used) / count
    variance = sum((share - mean) ** 2 for share in used) / (count - 1)
    return Z_95 * math.sqrt(variance / count * (1 - count / pages))
