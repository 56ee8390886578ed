"""Reads what advice rests on: the costliest statements, and the catalog of what they read."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.statement_text import command_of
from maintenance.postgres.indexes.advice.catalog import Catalog, Column, IndexKey, IndexShape, Table
from maintenance.postgres.indexes.advice.reads import Cost
from maintenance.postgres.queries.review import StatementStatistics, take_snapshot
from maintenance.postgres.queries.statement_counters import StatementUse, by_query, use_between
from maintenance.postgres.sql_files import query

#: The costliest statements that are parsed: together they are nearly all of a site's time.
MAXIMUM_STATEMENTS = 200

_COMMANDS = frozenset({"SELECT", "WITH", "UPDATE", "DELETE"})

# Bits of pg_index.indoption (INDOPTION_DESC and INDOPTION_NULLS_FIRST).
_DESCENDING, _NULLS_FIRST = 1, 2


@dataclass(frozen=True, slots=True)
class StatementMeasurement:
    """The costliest statements of a window, or what is missing to read them.

    ``state`` is for the next run. ``hidden`` statements are other roles', and not ours to see.
    """

    needs: str = ""
    statements: tuple[Cost, ...] = ()
    use: StatementUse | None = None
    hidden: int = 0
    role: str = ""
    state: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """A row of ``sql/advice_surroundings.sql``."""

    search_path: str
    text_search_configuration: str
    trigram_schema: str | None
    hypopg_schema: str | None


def measure_statements(conn: Connection, previous: Mapping[str, Any]) -> StatementMeasurement:
    """Return the statements that cost most since the run that left ``previous``."""
    statistics = StatementStatistics(**query(conn, "statement_statistics")[0])
    needs = statistics.needs()
    if needs:
        return StatementMeasurement(needs=needs, state=previous)
    snapshot, hidden = take_snapshot(conn, statistics)
    use = use_between(previous, snapshot)
    wanted = sorted(
        (s for s in by_query(use.statements) if command_of(s.text) in _COMMANDS),
        key=lambda s: (-s.total_ms, s.query_id),
    )[:MAXIMUM_STATEMENTS]
    rows = query(
        conn,
        "statement_texts",
        {"query_ids": [s.query_id for s in wanted]},
        identifiers={"schema": statistics.schema or ""},
    )
    texts = {row["query_id"]: row["text"] for row in rows}
    return StatementMeasurement(
        statements=tuple(
            Cost(s.query_id, texts.get(s.query_id, s.text), s.calls, s.total_ms, s.rows)
            for s in wanted
        ),
        use=use,
        hidden=hidden,
        role=statistics.role,
        state=snapshot.to_state(),
    )


def measure_surroundings(conn: Connection) -> Surroundings:
    """Return what decides how the statements of this database are read."""
    return Surroundings(**query(conn, "advice_surroundings")[0])


def measure_catalog(
    conn: Connection, target: DatabaseTarget, names: Collection[str], around: Surroundings
) -> Catalog:
    """Return the tables of these names with columns and indexes; no lock is waited for."""
    tables = [
        row
        for row in query(conn, "advice_tables", {"names": sorted(names)})
        if row["schema"] not in target.exclude_schemas
    ]
    oids = {"oids": [row["oid"] for row in tables]}
    columns: dict[int, dict[str, Column]] = {}
    for row in query(conn, "advice_columns", oids):
        table_oid = row.pop("table_oid")
        columns.setdefault(table_oid, {})[row["name"]] = Column(**row)
    indexes: dict[int, list[IndexShape]] = {}
    for row in query(conn, "advice_indexes", oids):
        indexes.setdefault(row["table_oid"], []).append(_shape(row))
    trigrams = f"{around.trigram_schema}.gin_trgm_ops" if around.trigram_schema else ""
    return Catalog(
        tables=[
            _table(row, columns.get(row["oid"], {}), indexes.get(row["oid"], [])) for row in tables
        ],
        search_path=tuple(
            part.strip().strip('"') for part in around.search_path.split(",") if part.strip()
        ),
        trigram_operator_class=trigrams,
        text_search_configuration=around.text_search_configuration,
    )


def _table(row: dict[str, Any], columns: Mapping[str, Column], indexes: list[IndexShape]) -> Table:
    has_indexes = row.pop("has_indexes")
    primary_key, foreign_keys = tuple(row.pop("primary_key")), tuple(row.pop("foreign_keys"))
    return Table(
        **row,
        columns=columns,
        indexes=tuple(indexes),
        primary_key=primary_key,
        foreign_keys=foreign_keys,
        is_known=bool(indexes) or not has_indexes,
    )


def _shape(row: Mapping[str, Any]) -> IndexShape:
    keys = tuple(
        IndexKey(text, bool(bits & _DESCENDING), bool(bits & _NULLS_FIRST))
        for text, bits in zip(row["keys"], row["options"], strict=False)
    )
    return IndexShape(row["method"], keys, predicate=row["predicate"])
