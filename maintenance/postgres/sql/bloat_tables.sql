-- Every table, materialized view and TOAST table with what the packing model needs to sample it.
-- Sizes come from the file system, but for tables of a few pages by the note of their last ANALYZE
-- that have hardly changed since (see indexes.sql): those are only counted. A relation that is dropped meanwhile has none and is left out, and
-- so is one that somebody locks exclusively or waits to, itself or an index of it: pg_relation_size
-- would queue behind them, and so would a query, which opens all indexes to be planned.
WITH locked AS MATERIALIZED (
    SELECT unnest(ARRAY[l.relation, coalesce(i.indrelid, l.relation)]) AS relation
    FROM pg_locks AS l
    LEFT JOIN pg_index AS i ON i.indexrelid = l.relation
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
),
settled AS MATERIALIZED (
    SELECT t.oid
    FROM pg_class AS t
    WHERE t.relkind IN ('r', 'm')
        AND coalesce(
            pg_stat_get_last_analyze_time(t.oid), pg_stat_get_last_autoanalyze_time(t.oid)
        ) IS NOT NULL
        AND pg_stat_get_mod_since_analyze(t.oid) + pg_stat_get_dead_tuples(t.oid)
            <= 50 + 0.1::float8 * t.reltuples
)
SELECT r.*
FROM (
    SELECT
        c.oid::bigint AS oid,
        n.nspname AS schema,
        c.relname AS name,
        quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS qualified_name,
        c.relkind::text AS kind,
        am.amname AS method,
        coalesce(
            (
                SELECT o.option_value::int
                FROM pg_options_to_table(c.reloptions) AS o
                WHERE o.option_name = 'fillfactor'
            ),
            100
        ) AS fill_percent,
        (
            SELECT o.option_value::int
            FROM pg_options_to_table(c.reloptions) AS o
            WHERE o.option_name = 'toast_tuple_target'
        ) AS toast_target_bytes,
        c.reltoastrelid <> 0 AS has_toast,
        c.relnatts::int AS column_count,
        CASE
            WHEN c.relpages BETWEEN 1 AND %(few_pages)s AND c.oid IN (SELECT oid FROM settled)
            THEN c.relpages
            ELSE pg_relation_size(c.oid) / 8192
        END AS pages,
        has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AS readable,
        c.relrowsecurity AND row_security_active(c.oid) AS hidden_by_policy,
        tn.nspname || '.' || t.relname AS main_table,
        quote_ident(tn.nspname) || '.' || quote_ident(t.relname) AS qualified_main_table
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_am AS am ON am.oid = c.relam
    LEFT JOIN pg_class AS t ON c.relkind = 't' AND t.reltoastrelid = c.oid
    LEFT JOIN pg_namespace AS tn ON tn.oid = t.relnamespace
    WHERE c.relkind IN ('r', 'm', 't')
        -- A standby cannot read unlogged tables.
        AND (c.relpersistence = 'p' OR c.relpersistence = 'u' AND NOT pg_is_in_recovery())
        AND n.nspname NOT IN ('pg_catalog', 'information_schema')
        -- A catalog's own TOAST table is the server's business, and so is one without a table.
        AND (c.relkind <> 't' OR tn.nspname NOT IN ('pg_catalog', 'information_schema'))
        AND c.oid NOT IN (SELECT relation FROM locked)
        AND (%(oids)s::bigint[] IS NULL OR c.oid = ANY (%(oids)s::bigint[]::oid[]))
) AS r
WHERE r.pages > 0
ORDER BY r.pages DESC, r.schema, r.name
