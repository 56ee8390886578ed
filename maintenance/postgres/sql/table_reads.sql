-- How each table is read and written since the counters began. Catalogs and counters only.
-- pg_relation_size would wait behind whoever holds or awaits an AccessExclusiveLock: there the size
-- is that of the last VACUUM. Nor is a table opened for its size alone that is small by the note of its
-- last ANALYZE, and hardly changed since: see indexes.sql.
WITH locked AS MATERIALIZED (
    SELECT l.relation
    FROM pg_locks AS l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
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
),
by_index AS MATERIALIZED (
    SELECT
        i.indrelid,
        sum(pg_stat_get_numscans(i.indexrelid))::bigint AS scans,
        sum(pg_stat_get_tuples_returned(i.indexrelid))::bigint AS entries_read
    FROM pg_index AS i
    GROUP BY i.indrelid
)
SELECT
    c.oid::bigint AS oid,
    h.inhparent::bigint AS parent_oid,
    n.nspname AS schema,
    c.relname AS name,
    quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS qualified_name,
    c.relkind = 'p' AS is_partitioned,
    CASE
        WHEN c.relkind = 'p' THEN 0
        WHEN c.oid IN (SELECT relation FROM locked)
        THEN c.relpages::bigint * current_setting('block_size')::bigint
        -- 64 pages are half of the least that a report names by default.
        WHEN c.relpages BETWEEN 1 AND 64 AND c.oid IN (SELECT oid FROM settled)
        THEN c.relpages::bigint * current_setting('block_size')::bigint
        ELSE coalesce(pg_relation_size(c.oid), 0)
    END AS size_bytes,
    pg_stat_get_live_tuples(c.oid) AS live_rows,
    pg_stat_get_numscans(c.oid) AS sequential_scans,
    pg_stat_get_tuples_returned(c.oid) AS rows_read_sequentially,
    coalesce(x.scans, 0) AS index_scans,
    coalesce(x.entries_read, 0) AS rows_read_by_index,
    pg_stat_get_tuples_updated(c.oid) AS updated_rows,
    pg_stat_get_tuples_deleted(c.oid) AS deleted_rows
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_inherits AS h ON h.inhrelid = c.oid AND c.relispartition
LEFT JOIN by_index AS x ON x.indrelid = c.oid
WHERE c.relkind IN ('r', 'm', 'p')
    AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema')
ORDER BY n.nspname, c.relname
