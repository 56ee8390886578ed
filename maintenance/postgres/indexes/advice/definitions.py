"""Statements that make the proposed indexes, and that drop them again."""

from collections.abc import Sequence

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.indexes.advice.proposals import Proposal
from maintenance.postgres.indexes.catalog import Definition
from maintenance.postgres.indexes.creation import free_name
from maintenance.postgres.sql_files import query

#: Letters of a table's name that any index name keeps: of four bytes each at the most.
BEGINNING_LETTERS = 10


def definitions_of_new(conn: Connection, proposals: Sequence[Proposal]) -> list[Definition]:
    """Return how each index is made without locking out writers, and how it is dropped again.

    Names are like PostgreSQL's own, ``table_column_idx``, and not taken in the table's schema.
    """
    # A long name is cut, so that its beginning alone is sure to be part of the index's.
    beginnings = sorted({p.table.name[:BEGINNING_LETTERS] for p in proposals})
    rows = query(
        conn,
        "taken_names",
        {"schemas": sorted({p.table.schema for p in proposals}), "beginnings": beginnings},
    )
    taken = {(row["schema"], row["name"]) for row in rows}
    definitions = []
    for proposal in proposals:
        table = proposal.table
        name = free_name(table.schema, table.name, _words(proposal), taken)
        taken.add((table.schema, name))
        definitions.append(_definition(conn, proposal, name))
    return definitions


def _words(proposal: Proposal) -> list[str]:
    """Return the column of each key; an expression is named by the longest column in it."""
    words = []
    for key in proposal.shape.keys:
        own = [c.name for c in proposal.table.columns.values() if c.quoted in key.text]
        words.append(max(own, key=len, default="expr"))
    return words


def _definition(conn: Connection, proposal: Proposal, name: str) -> Definition:
    table = proposal.table
    drop = sql.SQL("DROP INDEX CONCURRENTLY {};").format(sql.Identifier(table.schema, name))
    create = sql.SQL("CREATE INDEX CONCURRENTLY {} ON {} {};").format(
        sql.Identifier(name),
        sql.Identifier(table.schema, table.name),
        # Keys are as the server quoted them.
        sql.SQL(proposal.shape.definition),
    )
    return Definition((drop.as_string(conn),), (create.as_string(conn),))
