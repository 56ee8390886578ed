"""Statements that make a new index without locking out writers, and that drop it again."""

from collections.abc import Collection, Sequence

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.indexes.catalog import Definition
from maintenance.postgres.indexes.table_reads import TableReads, Tables

#: PostgreSQL cuts longer identifiers (NAMEDATALEN - 1).
MAXIMUM_NAME_BYTES = 63


def new_index(
    conn: Connection,
    table: TableReads,
    column_names: Sequence[str],
    tables: Tables,
    taken: set[tuple[str, str]],
) -> Definition:
    """Return the statements for a btree index on columns of a table and of all its partitions.

    ``column_names`` are as the catalog has them; ``taken`` are pairs of schema and name that
    exist; those of the new indexes are added. A partitioned index cannot be made CONCURRENTLY: it is made on the parent alone, those
    of the partitions are made CONCURRENTLY and attached (documentation of CREATE INDEX).
    """
    columns = sql.SQL(", ").join(map(sql.Identifier, column_names))
    create: list[sql.Composable] = []
    attach: list[sql.Composable] = []
    names: dict[int, sql.Identifier] = {}
    for member in tables.family_of(table):
        name = free_name(member.schema, member.name, column_names, taken)
        taken.add((member.schema, name))
        names[member.oid] = sql.Identifier(member.schema, name)
        create.append(
            sql.SQL("CREATE INDEX {}{} ON {}{} ({});").format(
                sql.SQL("" if member.is_partitioned else "CONCURRENTLY "),
                sql.Identifier(name),
                sql.SQL("ONLY " if member.is_partitioned else ""),
                sql.Identifier(member.schema, member.name),
                columns,
            )
        )
        if member is not table:
            assert member.parent_oid is not None
            # Deepest first: a partitioned index is valid once all below it are attached.
            attach.insert(
                0,
                sql.SQL("ALTER INDEX {} ATTACH PARTITION {};").format(
                    names[member.parent_oid], names[member.oid]
                ),
            )
    drop = sql.SQL("DROP INDEX {}{};").format(
        sql.SQL("" if table.is_partitioned else "CONCURRENTLY "), names[table.oid]
    )
    return Definition(
        (drop.as_string(conn),), tuple(part.as_string(conn) for part in (*create, *attach))
    )


def free_name(
    schema: str, table_name: str, column_names: Sequence[str], taken: Collection[tuple[str, str]]
) -> str:
    """Return a name like PostgreSQL's own, ``table_column_idx``, that nothing in the schema has."""
    stem = f"{table_name}_{'_'.join(column_names)}"
    for number in range(len(taken) + 1):
        ending = f"_idx{number or ''}"
        name = cut_name(stem, MAXIMUM_NAME_BYTES - len(ending)) + ending
        if (schema, name) not in taken:
            return name
    raise AssertionError("more names were tried than are taken")


def cut_name(text: str, maximum_bytes: int) -> str:
    """Return the beginning of a name that has at most so many bytes, all of its letters whole."""
    return text.encode()[:maximum_bytes].decode(errors="ignore")
