"""One table as the catalog and the counters of the server show it."""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.sql_files import query_records


class TableKind(StrEnum):
    """``pg_class.relkind`` of what VACUUM or ANALYZE can process."""

    TABLE = "r"
    MATERIALIZED_VIEW = "m"
    TOAST = "t"
    PARTITIONED = "p"


@dataclass(frozen=True, slots=True)
class TableState:
    """One table as the catalog and the counters show it.

    ``qualified_name`` is quoted as SQL needs it. Row counters cover the counter window only; ages
    are in transactions. Times are seconds since the epoch, ``None`` where it never happened
    within the window. ``is_shared`` is a catalog of all databases.
    """

    oid: int
    schema: str
    name: str
    qualified_name: str
    kind: TableKind
    toast_oid: int
    parent_oid: int | None
    pages: int
    tuples: float
    all_visible_pages: int
    all_frozen_pages: int
    storage_parameters: tuple[str, ...]
    xid_age: int | None
    multixact_age: int | None
    inserted_rows: int
    updated_rows: int
    deleted_rows: int
    live_rows: int
    dead_rows: int
    inserted_since_vacuum: int
    modified_since_analyze: int
    vacuum_count: int
    analyze_count: int
    last_vacuum_at: float | None
    last_manual_analyze_at: float | None
    last_autoanalyze_at: float | None
    has_statistics: bool
    may_maintain: bool
    is_shared: bool = False

    @property
    def last_analyze_at(self) -> float | None:
        """The later of the last manual and automatic ANALYZE."""
        times = [t for t in (self.last_manual_analyze_at, self.last_autoanalyze_at) if t]
        return max(times, default=None)

    @property
    def is_catalog(self) -> bool:
        """Whether it belongs to the server itself."""
        return self.schema in {"pg_catalog", "information_schema"}


def table_states(conn: Connection, oids: Collection[int] | None = None) -> list[TableState]:
    """Return every table that VACUUM or ANALYZE can process, or those with these ``oids``."""
    return query_records(
        conn,
        "table_counters",
        TableState,
        {"oids": None if oids is None else list(oids)},
        convert={"kind": TableKind, "storage_parameters": tuple},
    )
