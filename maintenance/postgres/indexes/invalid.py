"""Invalid indexes: how each became so, as far as the catalog shows it, and what to do.

The steps of CREATE, DROP and REINDEX INDEX CONCURRENTLY leave their marks in pg_index
(src/backend/catalog/index.c): an index that is not ready was never finished, one that is not live
was being dropped, and one that was ever scanned has once been valid.
"""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import bytes_in_words
from maintenance.postgres.indexes.catalog import (
    Definition,
    IndexState,
    children_of,
    definitions_of,
)
from maintenance.postgres.sql_files import server_version

#: REINDEX CONCURRENTLY of these versions can lose rows from the index (release notes of 14.4).
CORRUPTING_VERSIONS = range(140_000, 140_004)


@dataclass(frozen=True, slots=True)
class Cause:
    """How an index became invalid, and what to do: ``drop``, ``rebuild`` or neither."""

    sentence: str
    advice: str
    drop: bool = False
    rebuild: bool = False


def invalid_indexes(indexes: Sequence[IndexState]) -> list[IndexState]:
    """Return the indexes that no query can use and that nobody is working on at this moment."""
    return [index for index in indexes if not index.is_valid and not index.is_in_work]


def invalid_index_findings(conn: Connection, indexes: Sequence[IndexState]) -> list[Finding]:
    """Return a finding for each invalid index, with how it became so and what to do."""
    invalid = invalid_indexes(indexes)
    definitions = definitions_of(conn, invalid, indexes)
    twins = Twins(indexes)
    may_rebuild = server_version(conn) not in CORRUPTING_VERSIONS
    findings = []
    for index in invalid:
        cause = cause_of(index, twins, may_rebuild=may_rebuild)
        definition = definitions.get(index.oid)
        if cause.rebuild:
            rebuild = sql.SQL("REINDEX INDEX CONCURRENTLY {};").format(
                sql.Identifier(index.schema, index.name)
            )
            definition = Definition((rebuild.as_string(conn),), ())
        elif index.is_toast and definition:
            # Nobody can create an index on a TOAST table, and nobody needs to.
            definition = Definition(definition.drop, ())
        findings.append(_finding(index, cause, definition))
    return findings


class Twins:
    """Which indexes have the same structure, and which belong to which partitioned index.

    Structure, not the name, tells a leftover of REINDEX CONCURRENTLY: ``_ccnew`` and ``_ccold``
    are cut off from long names.
    """

    def __init__(self, indexes: Iterable[IndexState]) -> None:
        indexes = tuple(indexes)
        self._valid: dict[tuple[int, Hashable], IndexState] = {}
        self._children: Mapping[int, Sequence[IndexState]] = children_of(indexes)
        for index in indexes:
            if index.is_valid:
                self._valid.setdefault((index.table_oid, index.structure), index)

    def of(self, index: IndexState) -> IndexState | None:
        """Return a valid index of the same table and structure."""
        return self._valid.get((index.table_oid, index.structure))

    def invalid_part_of(self, index: IndexState) -> IndexState | None:
        """Return an invalid index of a partition that belongs to a partitioned index."""
        parts = self._children.get(index.oid, ())
        return next((part for part in parts if not part.is_valid), None)


def cause_of(index: IndexState, twins: Twins, *, may_rebuild: bool = True) -> Cause:
    """Tell how an index became invalid. A leftover is dropped and never rebuilt."""
    if index.is_partitioned:
        return _of_partitioned(index, twins)
    if index.has_constraint or index.is_primary or index.is_replica_identity:
        return _of_needed(may_rebuild=may_rebuild)
    twin = twins.of(index)
    if twin is not None or index.is_toast:
        rebuilt = twin.qualified_name if twin else "the index of this TOAST table"
        return Cause(
            f"It is left over from rebuilding {rebuilt}, which is valid.",
            "Drop it. Rebuilding it would only make a second valid index of the same kind.",
            drop=True,
        )
    return _of_unfinished(index)


def _of_unfinished(index: IndexState) -> Cause:
    if not index.is_live:
        return Cause(
            "A DROP INDEX CONCURRENTLY was interrupted near its end.",
            "Finish dropping it; if it is needed, create it again afterwards.",
            drop=True,
        )
    again = (
        "Drop it; if it is needed, remove what made it fail"
        f"{', such as values that occur twice,' if index.is_unique else ''} and create it again."
    )
    if not index.is_ready:
        return Cause("A CREATE INDEX CONCURRENTLY failed before it was built.", again, drop=True)
    if index.scans:
        return Cause(
            "It was in use before: a DROP INDEX CONCURRENTLY was interrupted at its beginning, and"
            " the index is complete.",
            "Finish dropping it; or, if it is needed, make it valid again with REINDEX INDEX"
            " CONCURRENTLY.",
            drop=True,
        )
    return Cause(
        "A CREATE INDEX CONCURRENTLY failed, or a DROP INDEX CONCURRENTLY was interrupted.",
        again,
        drop=True,
    )


def _of_partitioned(index: IndexState, twins: Twins) -> Cause:
    part = twins.invalid_part_of(index)
    if part is not None:
        return Cause(
            f"Its part {part.qualified_name} is invalid.",
            f"Repair {part.qualified_name} first: this one is valid once all of its parts are.",
        )
    return Cause(
        "Not every partition has an index attached to it.",
        "Create the missing indexes on the partitions with CREATE INDEX CONCURRENTLY, and attach"
        " each with ALTER INDEX ... ATTACH PARTITION.",
    )


def _of_needed(*, may_rebuild: bool) -> Cause:
    sentence = "It stands behind a constraint or the replica identity of its table."
    if may_rebuild:
        return Cause(
            sentence,
            "Rebuild it; dropping it would drop what it stands for.",
            rebuild=True,
        )
    return Cause(
        sentence,
        "Update PostgreSQL first: REINDEX CONCURRENTLY of 14.0 to 14.3 can lose rows from the"
        " index. Then rebuild it; dropping it would drop what it stands for.",
    )


def _finding(index: IndexState, cause: Cause, definition: Definition | None) -> Finding:
    cost = "; every write still keeps it up to date" if index.is_ready else ""
    act = definition is not None and (cause.drop or cause.rebuild)
    return Finding(
        code="invalid-index",
        severity=Severity.WARNING,
        subject=index.qualified_name,
        sentence=(
            f"{index.qualified_name} ({bytes_in_words(index.size_bytes)}) is invalid: no query can"
            f" use it{cost}. {cause.sentence}"
        ),
        evidence={
            "table": index.table_name,
            "size_bytes": index.size_bytes,
            "ready": index.is_ready,
            "live": index.is_live,
        },
        advice=cause.advice,
        commands=definition.drop if definition and act else (),
        undo=definition.create if definition and act else (),
    )
