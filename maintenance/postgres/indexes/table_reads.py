"""How each table is read and written, and which partitions make up which table."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.postgres.sql_files import query_records


@dataclass(frozen=True, slots=True)
class TableReads:
    """A table with its counters since the window began; a partitioned one has none of its own.

    ``qualified_name`` is quoted where needed, ``schema`` and ``name`` are as the catalog has them.
    ``size_bytes`` is the main fork, of a small and quiet table as its last ANALYZE noted it;
    ``rows_read_by_index`` counts index entries.
    """

    oid: int
    parent_oid: int | None
    schema: str
    name: str
    qualified_name: str
    is_partitioned: bool
    size_bytes: int
    live_rows: int
    sequential_scans: int
    rows_read_sequentially: int
    index_scans: int
    rows_read_by_index: int
    updated_rows: int
    deleted_rows: int


_SUMMED = (
    "size_bytes",
    "live_rows",
    "sequential_scans",
    "rows_read_sequentially",
    "index_scans",
    "rows_read_by_index",
    "updated_rows",
    "deleted_rows",
)


class Tables:
    """All tables of a database, with their partitions."""

    def __init__(self, tables: Iterable[TableReads]) -> None:
        self.by_oid = {table.oid: table for table in tables}
        self._partitions: dict[int, list[TableReads]] = {}
        for table in self.by_oid.values():
            if table.parent_oid is not None:
                self._partitions.setdefault(table.parent_oid, []).append(table)

    @property
    def tops(self) -> list[TableReads]:
        """The tables that are no partition of another, each with the sums of its partitions."""
        return [
            self.whole(table)
            for table in self.by_oid.values()
            if table.parent_oid not in self.by_oid
        ]

    def family_of(self, table: TableReads) -> tuple[TableReads, ...]:
        """Return a table and its partitions of all levels, parents before children."""
        family = [table]
        for member in family:  # grows while it is read: partitions of partitions follow
            family.extend(self._partitions.get(member.oid, ()))
        return tuple(family)

    def whole(self, table: TableReads) -> TableReads:
        """Return a partitioned table with the counters of its partitions; any other as it is."""
        if not table.is_partitioned:
            return table
        family = self.family_of(table)
        sums = {name: sum(getattr(member, name) for member in family) for name in _SUMMED}
        return replace(table, **sums)


def measure_tables(conn: Connection, target: DatabaseTarget) -> Tables:
    """Read catalogs and counters of all tables outside the target's excluded schemas."""
    return Tables(
        table
        for table in query_records(conn, "table_reads", TableReads)
        if table.schema not in target.exclude_schemas
    )
