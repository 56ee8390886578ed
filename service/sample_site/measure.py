"""Measuring a built site: sizes against fresh copies, and what the server's counters say."""

from dataclasses import dataclass
from typing import Final

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from service.sample_site.database import own_tables, rows
from service.sample_site.truth import RelationSize

# Valid btree indexes of one table, with their sizes, and their definitions on its copy. Temporary
# tables have a schema of their own, so that no name needs to change.
_BTREE_INDEXES: Final = """
    SELECT
        c.relname,
        pg_relation_size(c.oid),
        replace(
            pg_get_indexdef(c.oid),
            format(' ON %%I.%%I USING ', n.nspname, t.relname),
            format(' ON pg_temp.%%I USING ', t.relname)
        )
    FROM pg_index AS i
    JOIN pg_class AS t ON t.oid = i.indrelid
    JOIN pg_namespace AS n ON n.oid = t.relnamespace
    JOIN pg_class AS c ON c.oid = i.indexrelid
    JOIN pg_am AS a ON a.oid = c.relam
    WHERE i.indrelid = %s::regclass AND i.indisvalid AND a.amname = 'btree'
    ORDER BY c.relname
"""

# The counters of each table of ours beside autovacuum's own thresholds (Routine Vacuuming, "The
# Autovacuum Daemon"). reltuples is -1 before the first VACUUM or ANALYZE and counts as 0 then.
# From PostgreSQL 18 on, the insert threshold takes only the share of pages not yet frozen.
_COUNTERS: Final = """
    SELECT
        format('%%I.%%I', s.schemaname, s.relname),
        s.n_dead_tup,
        s.n_mod_since_analyze,
        s.n_ins_since_vacuum,
        greatest(c.reltuples, 0)::bigint,
        current_setting('autovacuum_vacuum_threshold')::bigint
            + current_setting('autovacuum_vacuum_scale_factor')::float8 * greatest(c.reltuples, 0),
        current_setting('autovacuum_analyze_threshold')::bigint
            + current_setting('autovacuum_analyze_scale_factor')::float8 * greatest(c.reltuples, 0),
        current_setting('autovacuum_vacuum_insert_threshold')::bigint
            + current_setting('autovacuum_vacuum_insert_scale_factor')::float8 * greatest(c.reltuples, 0),
        s.last_analyze IS NULL AND s.last_autoanalyze IS NULL,
        coalesce(c.reloptions @> ARRAY['autovacuum_enabled=off'], false)
    FROM pg_stat_user_tables AS s
    JOIN pg_class AS c ON c.oid = s.relid
    WHERE obj_description(c.oid, 'pg_class') = %(marker)s
    ORDER BY s.relname
"""


@dataclass(frozen=True)
class TableCounters:
    """Counters of one table and the thresholds at which autovacuum would act on them."""

    subject: str
    dead_tuples: int
    modified_since_analyze: int
    inserted_since_vacuum: int
    estimated_rows: int
    vacuum_threshold: float
    analyze_threshold: float
    insert_threshold: float
    never_analyzed: bool
    autovacuum_disabled: bool


def table_counters(connection: Connection, marker: str) -> dict[str, TableCounters]:
    """The counters of every table of the site by `schema.table`."""
    measured = [TableCounters(*row) for row in rows(connection, _COUNTERS, {"marker": marker})]
    return {counters.subject: counters for counters in measured}


def relation_sizes(connection: Connection) -> tuple[RelationSize, ...]:
    """Size of every table and valid btree index beside that of a fresh copy.

    The copies are temporary tables: no write-ahead log, nothing left behind, and no estimate in
    pg_class of the original changes, as REINDEX or VACUUM FULL would change it.
    """
    sizes: list[RelationSize] = []
    for schema, table in own_tables(connection):
        sizes.extend(_table_sizes(connection, schema, table))
    return tuple(sizes)


def _table_sizes(connection: Connection, schema: str, table: str) -> list[RelationSize]:
    original = sql.Identifier(schema, table)
    copy = sql.Identifier("pg_temp", table)
    name = original.as_string(connection)
    ((size_bytes, options),) = rows(
        connection,
        "SELECT pg_relation_size(oid), reloptions FROM pg_class WHERE oid = %s::regclass",
        [name],
    )
    fill_factor = [option for option in options or [] if option.startswith("fillfactor=")]
    storage = sql.SQL(f"WITH ({fill_factor[0]})" if fill_factor else "")
    with connection.cursor() as cursor:
        cursor.execute(
            sql.SQL("CREATE TEMPORARY TABLE {} {} AS TABLE {}").format(
                sql.Identifier(table), storage, original
            )
        )
        sizes = [
            RelationSize(f"{schema}.{table}", size_bytes, _filled_bytes(connection, copy)),
        ]
        for index, index_bytes, definition in rows(connection, _BTREE_INDEXES, [name]):
            cursor.execute(definition)
            packed = _size_bytes(connection, sql.Identifier("pg_temp", index))
            sizes.append(RelationSize(f"{schema}.{table}.{index}", index_bytes, packed))
        cursor.execute(sql.SQL("DROP TABLE {}").format(copy))
    return sizes


def _filled_bytes(connection: Connection, copy: sql.Identifier) -> int:
    """Bytes up to the last row: CREATE TABLE AS extends in steps and leaves empty pages behind."""
    ((size_bytes,),) = rows(
        connection,
        sql.SQL(
            "SELECT coalesce((max(ctid)::text::point)[0]::bigint + 1, 0)"
            " * current_setting('block_size')::bigint FROM {}"
        ).format(copy),
    )
    return int(size_bytes)


def _size_bytes(connection: Connection, relation: sql.Identifier) -> int:
    ((size,),) = rows(
        connection, "SELECT pg_relation_size(%s::regclass)", [relation.as_string(connection)]
    )
    return int(size)
