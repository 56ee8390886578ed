-- Every index with its size in pages.
-- To open an index only for its size is what costs on a server with tens of thousands of them: where
-- neither the catalog nor the present size of its table says that it may be large, the catalog's
-- size stands. Left out is what somebody locks exclusively, or waits to: an index, for which
-- pg_relation_size would queue, and all indexes of its table, as a query opens them all to be planned.
WITH locked AS MATERIALIZED (
    SELECT unnest(ARRAY[l.relation, coalesce(i.indrelid, l.relation)]) AS relation
    FROM pg_locks AS l
    LEFT JOIN pg_index AS i ON i.indexrelid = l.relation
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
),
tables AS MATERIALIZED (
    SELECT
        t.oid,
        n.nspname,
        t.relname,
        CASE
            -- By the note of its last ANALYZE, with hardly a change since: see indexes.sql.
            WHEN t.relpages BETWEEN 1 AND 64
                AND coalesce(
                    pg_stat_get_last_analyze_time(t.oid), pg_stat_get_last_autoanalyze_time(t.oid)
                ) IS NOT NULL
                AND pg_stat_get_mod_since_analyze(t.oid) + pg_stat_get_dead_tuples(t.oid)
                    <= 50 + 0.1::float8 * t.reltuples
            THEN t.relpages * 8192::bigint
            ELSE pg_relation_size(t.oid)
        END AS size_bytes
    FROM pg_class AS t
    JOIN pg_namespace AS n ON n.oid = t.relnamespace
    WHERE t.relkind IN ('r', 'm')
        AND t.relhasindex
        -- A standby cannot read unlogged tables.
        AND (t.relpersistence = 'p' OR t.relpersistence = 'u' AND NOT pg_is_in_recovery())
        AND n.nspname NOT IN ('pg_catalog', 'information_schema')
        AND t.oid NOT IN (SELECT relation FROM locked)
)
SELECT
    c.oid::bigint AS oid,
    n.nspname AS schema,
    c.relname AS name,
    quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS qualified_name,
    t.nspname || '.' || t.relname AS table_name,
    CASE
        WHEN c.relpages * 8192::bigint >= %(minimum_bytes)s / 2 OR t.size_bytes >= %(minimum_bytes)s / 8
        THEN pg_relation_size(c.oid) / 8192
        ELSE c.relpages
    END AS pages
FROM tables AS t
JOIN pg_index AS i ON i.indrelid = t.oid
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE i.indisvalid AND i.indisready
    AND c.oid NOT IN (SELECT relation FROM locked)
ORDER BY pages DESC, n.nspname, c.relname
