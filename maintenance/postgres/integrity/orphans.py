"""Rows that refer to nothing, counted in batches along the primary key, over several runs if need be."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.job import Progress
from maintenance.core.wording import counted
from maintenance.postgres.connection import connection_was_lost
from maintenance.postgres.driver import MARKER
from maintenance.postgres.exclusive_use import NEEDS, tables_in_exclusive_use
from maintenance.postgres.indexes.creation import MAXIMUM_NAME_BYTES, cut_name
from maintenance.postgres.integrity.failed_looks import needs_of
from maintenance.postgres.integrity.model_relations import Destination, ModelRelation
from maintenance.postgres.time_budget import TimeBudget

#: Rows a statement: a tenth of a second or less where both keys are in memory.
BATCH_ROWS = 20_000

STATE_KEY = "model_relations"

_INTEGERS = frozenset({"smallint", "integer", "bigint"})
# What may be cast without an error, by the type that it is cast to.
_INTEGER_TEXT = "^-?[0-9]{1,18}$"
_UUID_TEXT = "^[0-9a-fA-F]{8}(-?[0-9a-fA-F]{4}){3}-?[0-9a-fA-F]{12}$"


@dataclass(frozen=True, slots=True)
class ModelOrphans:
    """What was counted of one relation, by this run and those that it continues.

    ``last_key`` is where the next batch begins, as text, ``None`` once the end was reached.
    ``needs`` says what stopped the count for good.
    """

    relation: ModelRelation
    rows: int = 0
    orphans: int = 0
    last_key: str | None = None
    is_complete: bool = False
    needs: str = ""

    def to_state(self) -> dict[str, Any]:
        """Return what the next run continues from."""
        return {"rows": self.rows, "orphans": self.orphans, "last_key": self.last_key}


def count_model_orphans(
    conn: Connection,
    relations: Sequence[ModelRelation],
    previous_state: Mapping[str, Any],
    budget: TimeBudget,
    progress: Progress,
) -> list[ModelOrphans]:
    """Count the rows of each relation that refer to nothing, until the ``budget`` is spent.

    Cost grows with the rows of the referencing tables: each is read once along its primary key.
    """
    begun = previous_state.get(STATE_KEY, {})
    counts = []
    # What an earlier run began comes first, so that no relation waits for ever.
    for relation in sorted(relations, key=lambda r: (r.label not in begun, r.label)):
        start = ModelOrphans(relation, **begun.get(relation.label, {}))
        counts.append(_count(conn, start, budget, progress))
    return counts


def state_of(counts: Sequence[ModelOrphans]) -> dict[str, Any]:
    """Return the state to keep: the counts that are not finished."""
    unfinished = {c.relation.label: c.to_state() for c in counts if c.last_key is not None}
    return {STATE_KEY: unfinished} if unfinished else {}


def _count(
    conn: Connection, count: ModelOrphans, budget: TimeBudget, progress: Progress
) -> ModelOrphans:
    relation = count.relation
    tables = [relation.table, *(destination.table for destination in relation.destinations)]
    if any(table.is_row_security_active for table in tables):
        return ModelOrphans(relation, needs="a role with BYPASSRLS, because policies hide rows")
    if tables_in_exclusive_use(conn) & {(table.schema, table.name) for table in tables}:
        return ModelOrphans(relation, needs=NEEDS)
    rows, orphans, last_key = count.rows, count.orphans, count.last_key
    while not budget.is_spent:
        progress.update(rows, phase=f"rows of {relation.qualified_column}", unit="rows")
        try:
            with conn.cursor() as cursor:
                cursor.execute(batch_query(relation, last_key))
                batch_rows, batch_orphans, key = cursor.fetchone() or (0, 0, None)
        except psycopg2.errors.UndefinedTable:
            return ModelOrphans(relation, needs="a table that nobody drops meanwhile")
        except psycopg2.Error as error:
            if connection_was_lost(conn, error):
                raise
            names = sorted({table.qualified_name for table in tables})
            return ModelOrphans(relation, rows, orphans, needs=needs_of(error, names))
        rows, orphans = rows + batch_rows, orphans + batch_orphans
        if batch_rows < BATCH_ROWS:
            return ModelOrphans(relation, rows, orphans, is_complete=True)
        last_key = key
    return ModelOrphans(relation, rows, orphans, last_key)


def batch_query(relation: ModelRelation, last_key: str | None) -> sql.Composed:
    """Return the query for the next batch: its rows, those that refer to nothing, its last key."""
    key = sql.Identifier(relation.key_column)
    columns = dict.fromkeys(
        filter(None, (relation.key_column, relation.column, relation.content_type_column))
    )
    after: sql.Composable = sql.SQL("")
    if last_key is not None:
        after = sql.SQL(" WHERE {} > {}").format(key, sql.Literal(last_key))
    batch = sql.SQL("SELECT {} FROM {}{} ORDER BY {} LIMIT {}").format(
        sql.SQL(", ").join(map(sql.Identifier, columns)),
        sql.Identifier(relation.table.schema, relation.table.name),
        after,
        key,
        sql.Literal(BATCH_ROWS),
    )
    return sql.SQL(
        "{} WITH r AS MATERIALIZED ({}) SELECT pg_catalog.count(*), pg_catalog.count(*) FILTER"
        " (WHERE {}), (SELECT l.{}::text FROM r AS l ORDER BY l.{} DESC LIMIT 1) FROM r{}"
    ).format(sql.SQL(MARKER), batch, _refers_to_nothing(relation), key, key, _joins(relation))


def rows_query(relation: ModelRelation) -> sql.Composed:
    """Return the query for the rows that refer to nothing."""
    return sql.SQL("SELECT r.* FROM {} AS r{} WHERE {} LIMIT 100;").format(
        sql.Identifier(relation.table.schema, relation.table.name),
        _joins(relation),
        _refers_to_nothing(relation),
    )


def _joins(relation: ModelRelation) -> sql.Composed:
    """Return a LEFT JOIN a destination; its table finds no partner for an orphan."""
    return sql.Composed(
        sql.SQL(" LEFT JOIN {} AS {} ON {}.{} = {}").format(
            sql.Identifier(destination.table.schema, destination.table.name),
            _alias(number),
            _alias(number),
            sql.Identifier(destination.column),
            _reference(relation, destination),
        )
        for number, destination in enumerate(relation.destinations)
    )


def _alias(number: int) -> sql.Identifier:
    return sql.Identifier(f"d{number}")


def _reference(relation: ModelRelation, destination: Destination) -> sql.Composed:
    """Return what is compared with a destination's key; NULL where a row refers elsewhere.

    A generic key is mostly text, whatever it refers to. It is cast only where that cannot fail.
    """
    column = sql.SQL("r.{}").format(sql.Identifier(relation.column))
    if destination.content_type is None:
        return column
    conditions = [_is_of_type(relation, destination)]
    given = relation.table.columns[relation.column]
    wanted = destination.table.columns[destination.column]
    if given != wanted and not {given, wanted} <= _INTEGERS:
        pattern = _INTEGER_TEXT if wanted in _INTEGERS else _UUID_TEXT if wanted == "uuid" else "."
        conditions.append(sql.SQL("{}::text ~ {}").format(column, sql.Literal(pattern)))
        # An integer of another width may not fit: numeric takes and compares them all.
        cast = "numeric" if wanted in _INTEGERS else wanted
        column = sql.SQL("{}::text::{}").format(column, sql.SQL(cast))
    return sql.SQL("CASE WHEN {} THEN {} END").format(sql.SQL(" AND ").join(conditions), column)


def _is_of_type(relation: ModelRelation, destination: Destination) -> sql.Composed:
    return sql.SQL("r.{} = {}").format(
        sql.Identifier(relation.content_type_column or ""), sql.Literal(destination.content_type)
    )


def _refers_to_nothing(relation: ModelRelation) -> sql.Composed:
    column = sql.Identifier(relation.column)
    cases = []
    for number, destination in enumerate(relation.destinations):
        partner = sql.SQL("{}.{}").format(_alias(number), sql.Identifier(destination.column))
        case = sql.SQL("{} IS NULL").format(partner)
        if destination.content_type is not None:
            case = sql.SQL("({} AND {})").format(_is_of_type(relation, destination), case)
        cases.append(case)
    either = sql.SQL(" OR ").join(cases) if cases else sql.SQL("false")
    return sql.SQL("r.{} IS NOT NULL AND ({})").format(column, either)


def diagnose_model_orphans(conn: Connection, counts: Sequence[ModelOrphans]) -> Iterator[Finding]:
    """Judge each count; ``conn`` only quotes names."""
    for count in counts:
        relation = count.relation
        if relation.is_declared_enforced:
            yield _missing_constraint(conn, relation)
        if count.orphans:
            yield _orphans_finding(conn, count)
        if count.needs or not count.is_complete:
            yield unavailable(
                "orphaned-rows",
                relation.qualified_column,
                f"whether {'other ' if count.orphans else ''}rows of"
                f" {relation.table.qualified_name} refer to nothing by {relation.column}",
                count.needs
                or f"more time: {counted(count.rows, 'row')} were looked at, the next run goes on",
            )


def _orphans_finding(conn: Connection, count: ModelOrphans) -> Finding:
    relation = count.relation
    if relation.content_type_column is None:
        what = f"to a row of {relation.destinations[0].table.qualified_name} that does not exist"
        why = (
            "the constraint is missing"
            if relation.is_declared_enforced
            else "it has db_constraint=False"
        )
    else:
        what, why = "to nothing", "it is a generic foreign key, which no server enforces"
    at_least = "" if count.is_complete else "At least "
    return Finding(
        code="orphaned-rows",
        severity=Severity.WARNING,
        subject=relation.qualified_column,
        sentence=(
            f"{at_least}{counted(count.orphans, 'row')} of {relation.table.qualified_name}"
            f" {'refers' if count.orphans == 1 else 'refer'} {what}, by {relation.label}: {why}."
        ),
        evidence={
            "field": relation.label,
            "orphaned_rows": count.orphans,
            "rows": count.rows,
            "counted_all": count.is_complete,
        },
        advice=(
            "Look at them with the command and decide whether to delete them or to bring back what"
            " they refer to. Delete through the ORM, whose collector follows such references, not"
            " by SQL or _raw_delete()."
        ),
        commands=(rows_query(relation).as_string(conn),),
    )


def _missing_constraint(conn: Connection, relation: ModelRelation) -> Finding:
    (destination,) = relation.destinations
    name = _constraint_name(relation)
    add = sql.SQL("ALTER TABLE {} ADD CONSTRAINT {} FOREIGN KEY ({}) REFERENCES {} ({})").format(
        sql.Identifier(relation.table.schema, relation.table.name),
        sql.Identifier(name),
        sql.Identifier(relation.column),
        sql.Identifier(destination.table.schema, destination.table.name),
        sql.Identifier(destination.column),
    )
    table = sql.Identifier(relation.table.schema, relation.table.name)
    validate = sql.SQL("ALTER TABLE {} VALIDATE CONSTRAINT {};").format(table, sql.Identifier(name))
    drop = sql.SQL("ALTER TABLE {} DROP CONSTRAINT {};").format(table, sql.Identifier(name))
    return Finding(
        code="missing-foreign-key",
        severity=Severity.WARNING,
        subject=relation.qualified_column,
        sentence=(
            f"{relation.label} is a foreign key for Django, but {relation.qualified_column} has no"
            " constraint in the database: nothing keeps its rows from referring to nothing."
        ),
        evidence={"field": relation.label, "references": destination.table.qualified_name},
        advice=(
            "A migration was faked or the constraint dropped by hand. Remove orphaned rows, then"
            " add it NOT VALID, which is quick, and validate it beside the application."
        ),
        commands=(
            add.as_string(conn) + " DEFERRABLE INITIALLY DEFERRED NOT VALID;",
            validate.as_string(conn),
        ),
        undo=(drop.as_string(conn),),
    )


def _constraint_name(relation: ModelRelation) -> str:
    """Return ``table_column_fk``; where that is too long, a part of it with a mark of the whole."""
    stem = f"{relation.table.name}_{relation.column}"
    ending = "_fk"
    if len(f"{stem}{ending}".encode()) > MAXIMUM_NAME_BYTES:
        ending = f"_{sha256(stem.encode()).hexdigest()[:8]}_fk"
    return cut_name(stem, MAXIMUM_NAME_BYTES - len(ending)) + ending
