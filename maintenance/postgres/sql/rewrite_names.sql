-- Every table and materialized view by name, read without a lock on any of them. One that somebody locks
-- exclusively or waits to, itself or an index of it, cannot be measured: a query would queue behind them.
SELECT
    c.oid::bigint AS oid,
    n.nspname AS schema,
    c.relname AS name,
    quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS qualified_name,
    EXISTS (
        SELECT
        FROM pg_locks AS l
        LEFT JOIN pg_index AS i ON i.indexrelid = l.relation
        WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND coalesce(i.indrelid, l.relation) = c.oid
    ) AS is_locked
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm')
    AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema')
