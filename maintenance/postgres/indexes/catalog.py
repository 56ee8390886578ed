"""Indexes as the catalogs and counters show them, and how one is dropped and made again."""

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.postgres.counters import CounterWindow, measure_window
from maintenance.postgres.one_look import seen_once
from maintenance.postgres.sql_files import query, query_records


@dataclass(frozen=True, slots=True)
class IndexState:
    """One index with what was counted about it.

    ``qualified_name`` is schema, table and index, quoted where needed; ``schema``,
    ``plain_table_name`` and ``name`` are as the catalog has them. ``scans`` and ``writes`` (inserts
    into its table and updates that were not HOT) cover the counter window; ``last_scan_at`` is
    seconds since the epoch, ``None`` before PostgreSQL 16. ``xid_age`` is the age in transactions
    of its catalog row, ``committed_at`` the time of that where the server keeps it.

    ``size_bytes`` is the present one, but for small indexes of tables that have hardly changed since
    their last ANALYZE: there it is what that noted (``sql/indexes.sql`` says when).

    ``columns`` are attribute numbers, 0 for an expression, the first ``key_count`` of them key
    columns with an entry each in ``operator_classes``, ``collations`` and ``sort_options`` (1
    descending, 2 nulls first; src/include/access/amapi.h).
    ``expressions`` and ``predicate`` are trees as the catalog keeps them.
    """

    oid: int
    table_oid: int
    schema: str
    plain_table_name: str
    table_name: str
    name: str
    qualified_name: str
    is_toast: bool
    is_partitioned: bool
    parent_oid: int | None
    access_method: str
    size_bytes: int
    table_pages: int
    xid_age: int
    committed_at: float | None
    scans: int
    last_scan_at: float | None
    writes: int
    is_primary: bool
    is_unique: bool
    nulls_not_distinct: bool
    is_immediate: bool
    is_exclusion: bool
    is_replica_identity: bool
    is_clustered: bool
    has_constraint: bool
    is_referenced: bool
    is_valid: bool
    is_ready: bool
    is_live: bool
    is_in_work: bool
    key_count: int
    columns: tuple[int, ...]
    operator_classes: tuple[int, ...]
    collations: tuple[int, ...]
    sort_options: tuple[int, ...]
    storage_parameters: tuple[str, ...]
    operator_class_options: str
    expressions: str | None
    predicate: str | None

    @property
    def structure(self) -> Hashable:
        """What a rebuilt index shares with the one it was copied from."""
        return (
            self.access_method,
            self.is_unique,
            self.nulls_not_distinct,
            self.is_exclusion,
            self.columns,
            self.key_count,
            self.operator_classes,
            self.collations,
            self.sort_options,
            self.expressions,
            self.predicate,
        )


@dataclass(frozen=True, slots=True)
class ForeignKey:
    """An enforced foreign key; ``columns`` are the attribute numbers of its referencing columns.

    ``parent_oid`` is the foreign key of the partitioned table that this one was made for.
    ``column_names`` are as the catalog has them, ``quoted_columns`` as a statement needs them.
    """

    oid: int
    parent_oid: int | None
    name: str
    table_oid: int
    referenced_oid: int
    columns: tuple[int, ...]
    column_names: tuple[str, ...]
    quoted_columns: tuple[str, ...]


@lru_cache(maxsize=10_000)
def _numbers(text: str) -> tuple[int, ...]:
    """Read an ``int2vector`` or ``oidvector`` as the server writes it: ``2 0 5``.

    Of tens of thousands of indexes most are like others, so that few are read and all share them.
    """
    return tuple(map(int, text.split()))


_INDEX_COLUMNS: Mapping[str, Callable[[Any], Any]] = {
    "columns": _numbers,
    "operator_classes": _numbers,
    "collations": _numbers,
    "sort_options": _numbers,
    "storage_parameters": tuple,
}
_FOREIGN_KEY_COLUMNS: Mapping[str, Callable[[Any], Any]] = {
    "columns": tuple,
    "column_names": tuple,
    "quoted_columns": tuple,
}


@dataclass(frozen=True, slots=True)
class ReplicationClient:
    """A server, or a program, that follows this one; one that is away has a slot alone.

    A role without pg_read_all_stats is not told ``application_name``.
    """

    application_name: str | None
    slot_name: str | None

    @property
    def name(self) -> str:
        """What a person may know it by."""
        return self.application_name or self.slot_name or "one whose name this role may not see"

    def is_among(self, names: Collection[str]) -> bool:
        """Tell whether it bears one of the names."""
        return self.application_name in names or self.slot_name in names


@dataclass(frozen=True, slots=True)
class IndexMeasurement:
    """What a diagnosis rests on. ``counts`` is whether the server counts scans at all."""

    indexes: tuple[IndexState, ...]
    foreign_keys: tuple[ForeignKey, ...]
    window: CounterWindow
    counts: bool
    is_standby: bool
    replication_clients: tuple[ReplicationClient, ...]


@dataclass(frozen=True, slots=True)
class Definition:
    """Statements that drop an index and that make it again, for a person to run."""

    drop: tuple[str, ...]
    create: tuple[str, ...]


def measure_indexes(conn: Connection, target: DatabaseTarget) -> IndexMeasurement:
    """Read catalogs and counters; no table is read and no lock waited for.

    Indexes in the target's excluded schemas are left out. Analyses of one run share one measurement.
    """
    return seen_once(
        conn,
        ("indexes", target.exclude_schemas),
        lambda: _measure_indexes(conn, target.exclude_schemas),
    )


def indexes_of_table(conn: Connection, table_oid: int) -> tuple[IndexState, ...]:
    """Return the indexes of one table, of a TOAST table as well, as they are now."""
    return tuple(_index_states(conn, table_oid))


def _index_states(conn: Connection, table_oid: int | None) -> list[IndexState]:
    parameters = {"table_oid": table_oid}
    return query_records(conn, "indexes", IndexState, parameters, convert=_INDEX_COLUMNS)


def _measure_indexes(conn: Connection, exclude_schemas: tuple[str, ...]) -> IndexMeasurement:
    states = _index_states(conn, None)
    keys = query_records(conn, "foreign_keys", ForeignKey, convert=_FOREIGN_KEY_COLUMNS)
    return IndexMeasurement(
        indexes=tuple(s for s in states if s.schema not in exclude_schemas),
        foreign_keys=tuple(keys),
        window=measure_window(conn),
        replication_clients=tuple(query_records(conn, "replication_clients", ReplicationClient)),
        **query(conn, "index_counting")[0],
    )


def definitions_of(
    conn: Connection, wanted: Iterable[IndexState], indexes: Iterable[IndexState]
) -> dict[int, Definition]:
    """Return the statements for each ``wanted`` index, by its oid.

    An index that was dropped meanwhile or is locked is missing. ``indexes`` are all, to find partitions.
    """
    children = children_of(indexes)
    families = {index.oid: family_of(index, children) for index in wanted}
    oids = sorted({member.oid for family in families.values() for member in family})
    rows = {row["oid"]: row for row in query(conn, "index_definitions", {"oids": oids})}
    return {
        oid: _definition(conn, family, rows)
        for oid, family in families.items()
        if all(member.oid in rows for member in family)
    }


def children_of(indexes: Iterable[IndexState]) -> dict[int, list[IndexState]]:
    """Return the indexes of partitions by the oid of the partitioned index they belong to."""
    children: dict[int, list[IndexState]] = {}
    for index in indexes:
        if index.parent_oid is not None:
            children.setdefault(index.parent_oid, []).append(index)
    return children


def family_of(
    index: IndexState, children: Mapping[int, Sequence[IndexState]]
) -> tuple[IndexState, ...]:
    """Return an index and the indexes of its partitions, parents before children."""
    family = [index]
    for member in family:  # grows while it is read: partitions of partitions follow
        family.extend(children.get(member.oid, ()))
    return tuple(family)


def _definition(
    conn: Connection, family: tuple[IndexState, ...], rows: Mapping[int, Mapping[str, Any]]
) -> Definition:
    # A partitioned index can be neither dropped nor made CONCURRENTLY; the indexes of its
    # partitions can be made so and attached (documentation of CREATE INDEX).
    drop = sql.SQL("DROP INDEX {}{};").format(
        sql.SQL("" if family[0].is_partitioned else "CONCURRENTLY "), _identifier(family[0])
    )
    create: list[str] = []
    for member in family:
        create += _create(conn, member, rows[member.oid])
    by_oid = {member.oid: member for member in family}
    for member in reversed(family[1:]):
        assert member.parent_oid is not None
        attach = sql.SQL("ALTER INDEX {} ATTACH PARTITION {};").format(
            _identifier(by_oid[member.parent_oid]), _identifier(member)
        )
        create.append(attach.as_string(conn))
    return Definition((drop.as_string(conn),), tuple(create))


def _create(conn: Connection, index: IndexState, row: Mapping[str, Any]) -> list[str]:
    text = str(row["definition"])
    if not index.is_partitioned:
        head = "CREATE UNIQUE INDEX" if index.is_unique else "CREATE INDEX"
        text = text.replace(head, f"{head} CONCURRENTLY", 1)
    if row["tablespace"] is None:
        return [f"{text};"]
    place = sql.SQL("SET default_tablespace = {};").format(sql.Identifier(row["tablespace"]))
    return [place.as_string(conn), f"{text};", "RESET default_tablespace;"]


def _identifier(index: IndexState) -> sql.Identifier:
    return sql.Identifier(index.schema, index.name)
