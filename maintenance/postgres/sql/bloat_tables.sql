-- Every table, materialized view and TOAST table with what the packing model needs to sample it.
-- Sizes come from the file system; a relation that is dropped meanwhile has none and is left out.
SELECT r.*
FROM (
    SELECT
        c.oid::bigint AS oid,
        n.nspname AS schema,
        c.relname AS name,
        quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS qualified_name,
        c.relkind::text AS kind,
        c.reltuples::float8 AS tuples,
        coalesce(
            (
                SELECT o.option_value::int
                FROM pg_options_to_table(c.reloptions) AS o
                WHERE o.option_name = 'fillfactor'
            ),
            100
        ) AS fill_percent,
        pg_relation_size(c.oid) / 8192 AS pages,
        has_table_privilege(c.oid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE') AS readable,
        c.relrowsecurity AND row_security_active(c.oid) AS hidden_by_policy,
        tn.nspname || '.' || t.relname AS main_table
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    LEFT JOIN pg_class AS t ON t.reltoastrelid = c.oid
    LEFT JOIN pg_namespace AS tn ON tn.oid = t.relnamespace
    WHERE c.relkind IN ('r', 'm', 't')
        AND c.relpersistence = 'p'
        AND n.nspname NOT IN ('pg_catalog', 'information_schema')
        -- A catalog's own TOAST table is the server's business.
        AND (c.relkind <> 't' OR t.relnamespace <> 'pg_catalog'::regnamespace)
        AND NOT coalesce(t.relnamespace = 'information_schema'::regnamespace, false)
        -- A table that somebody locks exclusively is not waited for: see bloat/tables.py.
        AND NOT EXISTS (
            SELECT FROM pg_locks AS l
            WHERE l.relation = c.oid AND l.mode = 'AccessExclusiveLock' AND l.granted
                AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        )
) AS r
WHERE r.pages > 0
ORDER BY r.pages DESC, r.schema, r.name
