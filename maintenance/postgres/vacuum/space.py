"""What tables hold beside their rows after a run: free for new rows, or to be had by a rewrite only.

VACUUM makes room inside a table; the file stays as long as it is (PostgreSQL documentation, "Recovering
Disk Space"). How much of it is free is estimated from a sample of pages, as bloat is.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.reports import Table
from maintenance.core.wording import bytes_in_words, counted
from maintenance.postgres.bloat.packing import LINE_POINTER_BYTES, PackedSize
from maintenance.postgres.bloat.table_report import TableBloat
from maintenance.postgres.bloat.tables import sample_tables
from maintenance.postgres.vacuum.duration import BLOCK_BYTES
from maintenance.postgres.vacuum.table_state import TableKind, TableState, table_states

#: Smaller tables are left out: ten thousand of them hold less than a large one.
MINIMUM_PAGES = 16
#: Sampling takes this share of the time of the run it follows, but at least and at most so long.
SAMPLING_RATIO = 0.02
LEAST_SECONDS = 0.25
MOST_SECONDS = 30.0
PAGE_HEADER_BYTES = 24
TABLES_SHOWN = 50


@dataclass(frozen=True, slots=True)
class TableSpace:
    """One table: ``free_bytes`` can take new rows now, ``rewrite_bytes`` only a rewrite gives back.

    They are about the same bytes: what is used again need not be given back.
    """

    subject: str
    size_bytes: int
    free_bytes: int
    rewrite_bytes: int


@dataclass(frozen=True, slots=True)
class Space:
    """The tables that were looked at, largest first, and what was not reached."""

    tables: tuple[TableSpace, ...]
    unseen_tables: int = 0
    unseen_bytes: int = 0

    @property
    def size_bytes(self) -> int:
        """The files of the tables that were looked at."""
        return sum(table.size_bytes for table in self.tables)

    @property
    def free_bytes(self) -> int:
        """Free space that new rows of its table can take."""
        return sum(table.free_bytes for table in self.tables)

    @property
    def rewrite_bytes(self) -> int:
        """What VACUUM FULL or pg_repack would give back to the disk."""
        return sum(table.rewrite_bytes for table in self.tables)

    @property
    def in_words(self) -> str:
        """One sentence."""
        sentence = (
            f"Of {bytes_in_words(self.size_bytes)} in {counted(len(self.tables), 'table')},"
            f" {bytes_in_words(self.free_bytes)} are free for new rows now; only a rewrite (VACUUM"
            f" FULL, pg_repack) would give {bytes_in_words(self.rewrite_bytes)} back to the disk"
        )
        if self.unseen_tables:
            sentence += (
                " (not looked at, for want of time or rights:"
                f" {counted(self.unseen_tables, 'table')} of {bytes_in_words(self.unseen_bytes)})"
            )
        return f"{sentence}."

    @property
    def facts(self) -> Mapping[str, int]:
        """The sums for the report."""
        return {
            "free_space_in_tables_bytes": self.free_bytes,
            "rewrite_would_give_back_bytes": self.rewrite_bytes,
            "space_looked_at_bytes": self.size_bytes,
            "space_not_looked_at_bytes": self.unseen_bytes,
        }

    @property
    def table(self) -> Table:
        """The tables with most to give back."""
        worst = sorted(self.tables, key=lambda t: (-t.rewrite_bytes, t.subject))[:TABLES_SHOWN]
        rows = [
            {
                "table": t.subject,
                "size_bytes": t.size_bytes,
                "free_bytes": t.free_bytes,
                "rewrite_gives_back_bytes": t.rewrite_bytes,
            }
            for t in worst
        ]
        return Table.of("Free space in tables", rows)


def measure_space(conn: Connection, oids: Collection[int], run_seconds: float) -> Space | None:
    """Look at the larger ones of these tables; ``None`` where none of them is large enough."""
    large = {
        state.oid: state
        for state in table_states(conn, oids)
        if state.pages >= MINIMUM_PAGES
        and state.kind is not TableKind.PARTITIONED
        and not state.is_catalog
    }
    if not large:
        return None
    seconds = min(MOST_SECONDS, max(LEAST_SECONDS, SAMPLING_RATIO * run_seconds))
    return space_of(large, sample_tables(conn, large, seconds=seconds))


def space_of(tables: Mapping[int, TableState], samples: Mapping[int, TableBloat]) -> Space:
    """Add up the samples. Dead rows that had to stay are not free, and a rewrite keeps them. Pure."""
    seen = {
        oid: _space_of_one(sample, sample.estimate, tables[oid].dead_rows)
        for oid, sample in samples.items()
        if sample.estimate is not None
    }
    unseen = [table for oid, table in tables.items() if oid not in seen]
    return Space(
        tables=tuple(seen.values()),
        unseen_tables=len(unseen),
        unseen_bytes=sum(t.pages for t in unseen) * BLOCK_BYTES,
    )


def _space_of_one(sample: TableBloat, estimate: PackedSize, dead_rows: int) -> TableSpace:
    row_bytes = estimate.mean_tuple_bytes + LINE_POINTER_BYTES
    dead_bytes = dead_rows * row_bytes
    used = estimate.pages * PAGE_HEADER_BYTES + estimate.live_rows * row_bytes + dead_bytes
    return TableSpace(
        subject=sample.subject,
        size_bytes=sample.size_bytes,
        free_bytes=max(0, round(sample.size_bytes - used)),
        rewrite_bytes=max(0, round(estimate.bloat_bytes - dead_bytes)),
    )
