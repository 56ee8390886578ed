"""Foreign keys that no index supports: each deleted row reads the whole referencing table."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import bytes_in_words, counted, rows_in_words
from maintenance.postgres.counters import CounterWindow
from maintenance.postgres.indexes.catalog import (
    Definition,
    ForeignKey,
    IndexMeasurement,
    IndexState,
)
from maintenance.postgres.indexes.guards import supports_fully
from maintenance.postgres.indexes.table_reads import TableReads, Tables


@dataclass(frozen=True, slots=True)
class UnsupportedKey:
    """A foreign key without an index to look up its referencing rows.

    ``table`` and ``referenced`` carry the sums of their partitions; ``bare`` are the tables or
    partitions without such an index, ``bare_bytes`` the size of these.
    """

    key: ForeignKey
    table: TableReads
    referenced: TableReads
    bare: tuple[TableReads, ...]
    partitions: int

    @property
    def subject(self) -> str:
        """``schema.table.column``; several columns stand in parentheses."""
        columns = self.key.quoted_columns
        if len(columns) == 1:
            return f"{self.table.qualified_name}.{columns[0]}"
        return f"{self.table.qualified_name}.({', '.join(columns)})"

    @property
    def bare_bytes(self) -> int:
        """What one deleted row of the referenced table makes the server read."""
        return sum(table.size_bytes for table in self.bare)


def unsupported_keys(
    measurement: IndexMeasurement, tables: Tables, minimum_bytes: int
) -> tuple[UnsupportedKey, ...]:
    """Return the foreign keys of tables of at least ``minimum_bytes`` that no index supports.

    The one of a partitioned table stands for those of its partitions.
    """
    by_table: dict[int, list[IndexState]] = {}
    for index in measurement.indexes:
        by_table.setdefault(index.table_oid, []).append(index)
    inherited: dict[int, list[ForeignKey]] = {}
    for key in measurement.foreign_keys:
        if key.parent_oid is not None:
            inherited.setdefault(key.parent_oid, []).append(key)
    found = []
    for key in measurement.foreign_keys:
        if key.parent_oid is not None or not _is_measured(key, tables):
            continue
        leaves = [k for k in _family(key, inherited) if _is_leaf(k, tables)]
        bare = tuple(
            tables.by_oid[leaf.table_oid]
            for leaf in leaves
            if not any(supports_fully(index, leaf) for index in by_table.get(leaf.table_oid, ()))
        )
        missing = UnsupportedKey(
            key,
            tables.whole(tables.by_oid[key.table_oid]),
            tables.whole(tables.by_oid[key.referenced_oid]),
            bare,
            len(leaves),
        )
        if bare and missing.bare_bytes >= minimum_bytes:
            found.append(missing)
    return tuple(found)


def _is_measured(key: ForeignKey, tables: Tables) -> bool:
    return key.table_oid in tables.by_oid and key.referenced_oid in tables.by_oid


def _family(key: ForeignKey, inherited: dict[int, list[ForeignKey]]) -> Iterable[ForeignKey]:
    """Return a foreign key and those of the table's partitions, each table once.

    Partitions of the referenced table have constraints below it too, on the same table.
    """
    seen: dict[int, ForeignKey] = {}
    waiting = [key]
    for member in waiting:
        seen.setdefault(member.table_oid, member)
        waiting.extend(inherited.get(member.oid, ()))
    return seen.values()


def _is_leaf(key: ForeignKey, tables: Tables) -> bool:
    table = tables.by_oid.get(key.table_oid)
    return table is not None and not table.is_partitioned


def foreign_key_finding(
    missing: UnsupportedKey, window: CounterWindow, definition: Definition | None
) -> Finding:
    """Say what the missing index costs.

    A warning where rows of the referenced table were deleted; it is a note where none was seen.
    """
    referenced = missing.referenced
    deleted = referenced.deleted_rows
    seen = (
        f"{rows_in_words(deleted)} {'was' if deleted == 1 else 'were'} deleted there"
        if deleted
        else "none was deleted there"
    )
    columns = len(missing.key.columns)
    return Finding(
        code="missing-foreign-key-index",
        severity=Severity.WARNING if deleted else Severity.INFO,
        subject=missing.subject,
        sentence=(
            f"{missing.subject} references {referenced.qualified_name}, and no index of"
            f" {_place(missing)} begins with {'it' if columns == 1 else 'these columns'}:"
            f" each deleted row of {referenced.qualified_name} makes the server read"
            f" {bytes_in_words(missing.bare_bytes)}; {seen} in {window.in_words}."
        ),
        evidence={
            "table": missing.table.qualified_name,
            "constraint": missing.key.name,
            "referenced_table": referenced.qualified_name,
            "size_bytes": missing.bare_bytes,
            "referenced_deleted_rows": deleted,
            "referenced_updated_rows": referenced.updated_rows,
            "window_seconds": window.seconds,
        },
        advice=_advice(missing),
        commands=definition.create if definition else (),
        undo=definition.drop if definition else (),
    )


def _place(missing: UnsupportedKey) -> str:
    if not missing.table.is_partitioned:
        return missing.table.qualified_name
    return (
        f"{len(missing.bare):,} of {counted(missing.partitions, 'partition')}"
        f" of {missing.table.qualified_name}"
    )


def _advice(missing: UnsupportedKey) -> str:
    advice = (
        "Create the index, unless rows of the referenced table are never deleted, its key never"
        " changes and nothing joins by it."
    )
    if missing.table.is_partitioned and len(missing.bare) < missing.partitions:
        advice += (
            " Where a partition has such an index already, attach that one"
            " instead of making a second."
        )
    return advice


def by_weight(missing: Sequence[UnsupportedKey]) -> list[UnsupportedKey]:
    """Sort by what was read for deleted rows, then by size."""
    return sorted(
        missing, key=lambda m: (-m.bare_bytes * m.referenced.deleted_rows, -m.bare_bytes, m.key.oid)
    )
