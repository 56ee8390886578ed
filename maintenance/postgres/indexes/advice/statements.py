"""Statements as pg_stat_statements keeps them, read for the conditions that they put to tables.

This module needs sqlglot: import it only where :func:`~.report.parser_is_installed`. It never
raises on any text; what it does not understand, it leaves out.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass

import sqlglot
from sqlglot import exp
from sqlglot.errors import SqlglotError
from sqlglot.optimizer.scope import Scope, traverse_scope

from maintenance.postgres.indexes.advice.catalog import Catalog
from maintenance.postgres.indexes.advice.conditions import Conditions, Draft, name_of
from maintenance.postgres.indexes.advice.reads import Cost, TableRead

#: Longer statements are mostly lists of values, and parsing takes a millisecond a kilobyte.
MAXIMUM_TEXT = 20_000

_READS = (exp.Select, exp.SetOperation)
# The parser is not made for arbitrary text: deep nesting and broken syntax raise these as well.
_FAILURES = (SqlglotError, RecursionError, ValueError, TypeError, AttributeError, LookupError)

# What the parser does not know it quotes in its log, literals and all: nothing of it is passed on.
logging.getLogger("sqlglot").propagate = False


@dataclass(frozen=True, slots=True)
class Statement:
    """A parsed statement, as a query that reads what it reads.

    ``scopes`` are its SELECTs, innermost first.
    """

    cost: Cost
    scopes: Sequence[Scope]

    def table_names(self) -> set[str]:
        """Return the names of tables in it, without schemas."""
        return {
            name_of(node.this)
            for scope in self.scopes
            for node in scope.tables
            if isinstance(node.this, exp.Identifier)
        }


@dataclass(frozen=True, slots=True)
class Reading:
    """What a statement reads, and how many of its tables are none that we know.

    ``qualified_text`` is the statement with a schema before each table, so that it means the same
    in any session; ``None`` where that cannot be written.
    """

    reads: tuple[TableRead, ...]
    unresolved: int
    without_statistics: int
    qualified_text: str | None


def parse(cost: Cost) -> Statement | None:
    """Return the statement behind ``cost.text``, ``None`` for anything but a readable query.

    SELECT, UPDATE and DELETE are read; the text is that of pg_stat_statements, ``$1`` for values.
    """
    first = cost.text.lstrip(" \t\r\n(")[:6].upper()
    if len(cost.text) > MAXIMUM_TEXT or not first.startswith(
        ("SELECT", "WITH", "UPDATE", "DELETE")
    ):
        return None
    try:
        trees = sqlglot.parse(cost.text, read="postgres")
        tree = trees[0] if len(trees) == 1 else None
        query = _as_query(tree)
        scopes = traverse_scope(query) if query is not None else []
    except _FAILURES:
        return None
    return Statement(cost, scopes) if scopes else None


def _as_query(tree: exp.Expr | None) -> exp.Expr | None:
    """Return a SELECT that finds the rows which an UPDATE or DELETE changes."""
    if isinstance(tree, _READS):
        return tree
    if not isinstance(tree, exp.Update | exp.Delete):
        return None
    others = tree.args.get("using") or []
    found = tree.args.get("from_")
    if isinstance(found, exp.From):
        others = [found.this]
    query = exp.Select(expressions=[exp.Star()], from_=exp.From(this=tree.this.copy()))
    query.set("joins", [exp.Join(this=other.copy()) for other in others])
    for name in ("where", "with_"):
        part = tree.args.get(name)
        if part is not None:
            query.set(name, part.copy())
    return query


def read_tables(statement: Statement, catalog: Catalog) -> Reading:
    """Return how the statement reads each table of the catalog."""
    reads: list[TableRead] = []
    unresolved = without_statistics = 0
    for scope in statement.scopes:
        if not isinstance(scope.expression, exp.Select):
            continue
        try:
            gathered = Conditions(scope, catalog, _rows_per_call(statement, scope))
            drafts = gathered.drafts
            unresolved += gathered.unresolved
            without_statistics += sum(draft.lacks_statistics for draft in drafts.values())
            reads += [
                read
                for draft in drafts.values()
                # Half of the conditions would make any index look better than it is.
                if not draft.lacks_statistics
                and (read := _finished(draft, statement, gathered)).restricts
            ]
        except _FAILURES:
            unresolved += 1
    text = None if unresolved else _qualified(statement, catalog)
    return Reading(tuple(reads), unresolved, without_statistics, text)


def _qualified(statement: Statement, catalog: Catalog) -> str | None:
    """Write the schema before each table name of the original text."""
    text = statement.cost.text
    places: dict[int, tuple[int, str]] = {}
    for scope in statement.scopes:
        for _, source in scope.selected_sources.values():
            if not isinstance(source, exp.Table) or source.args.get("db"):
                continue
            table = catalog.resolve("", name_of(source.this))
            start, end = source.this.meta.get("start"), source.this.meta.get("end")
            if table is None or start is None or end is None:
                return None
            written = text[start : end + 1]
            if written.strip('"').replace('""', '"') != source.this.name:
                return None
            places[start] = (end + 1, table.qualified_name)
    for start in sorted(places, reverse=True):
        end, name = places[start]
        text = f"{text[:start]}{name}{text[end:]}"
    return text


def _rows_per_call(statement: Statement, scope: Scope) -> float | None:
    """Return the counted rows of the outermost SELECT; an inner one's are not counted."""
    if scope is not statement.scopes[-1] or not statement.cost.calls:
        return None
    return statement.cost.rows / statement.cost.calls


def _finished(draft: Draft, statement: Statement, gathered: Conditions) -> TableRead:
    """Decide which equalities find the rows: those with values, else those with a joined table."""
    equalities = dict(draft.constants)
    joined = not equalities and draft.is_driven
    if joined:
        equalities = dict(draft.joins)
    order = gathered.order_of(draft) if not joined else None
    return TableRead(
        table=draft.table,
        cost=statement.cost,
        equalities=equalities,
        lists=frozenset(draft.lists & equalities.keys()),
        ranges=draft.ranges,
        conditions=draft.conditions,
        searches=tuple(draft.searches),
        order=order,
        limit_rows=gathered.limit_rows,
        observed_rows=gathered.observed_rows if len(statement.scopes) == 1 else None,
        mean_bytes=draft.mean_bytes,
    )
