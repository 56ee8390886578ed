-- Every index of the user tables with its counters, and invalid ones of TOAST tables; or all of one
-- table.
-- No lock is waited for: pg_relation_size would wait behind whoever holds or awaits an
-- AccessExclusiveLock, and there the size is that of the last VACUUM. Expressions and predicates are
-- compared as the trees that the catalog keeps, because pg_get_expr would wait as well.
-- To open ten thousands of indexes only for their sizes takes longer than all the rest: of the small
-- ones the size stands that the last ANALYZE noted, where hardly a row has changed since.
WITH locked AS MATERIALIZED (
    SELECT l.relation, l.mode, l.pid, l.granted
    FROM pg_locks AS l
    WHERE l.locktype = 'relation'
        AND l.mode IN ('AccessExclusiveLock', 'ShareUpdateExclusiveLock')
        AND l.database IN (0, (SELECT oid FROM pg_database WHERE datname = current_database()))
),
-- The view hides which table is in work from other roles, but not the process.
builders AS MATERIALIZED (
    SELECT p.pid FROM pg_stat_progress_create_index AS p WHERE p.datname = current_database()
),
constraints AS MATERIALIZED (
    SELECT
        k.conindid,
        bool_or(k.contype IN ('p', 'u', 'x')) AS is_backed,
        bool_or(k.contype = 'f') AS is_referenced
    FROM pg_constraint AS k
    WHERE k.conindid <> 0
    GROUP BY k.conindid
),
options AS MATERIALIZED (
    SELECT a.attrelid, string_agg(a.attnum || ' ' || a.attoptions::text, ', ' ORDER BY a.attnum) AS text
    FROM pg_attribute AS a
    WHERE a.attoptions IS NOT NULL
    GROUP BY a.attrelid
),
-- Tables for which the counters know an ANALYZE (after a crash they know none) and few changes since,
-- rows of aborted transactions (which are dead) among them: fewer than make ANALYZE due by default.
-- None, where the indexes of one table are asked for: they are as they are now.
settled AS MATERIALIZED (
    SELECT t.oid, t.reltuples
    FROM pg_class AS t
    WHERE %(table_oid)s::bigint IS NULL
        AND t.relkind IN ('r', 'm')
        AND coalesce(
            pg_stat_get_last_analyze_time(t.oid), pg_stat_get_last_autoanalyze_time(t.oid)
        ) IS NOT NULL
        AND pg_stat_get_mod_since_analyze(t.oid) + pg_stat_get_dead_tuples(t.oid)
            <= 50 + 0.1::float8 * t.reltuples
)
SELECT
    i.indexrelid::bigint AS oid,
    i.indrelid::bigint AS table_oid,
    n.nspname AS schema,
    t.relname AS plain_table_name,
    quote_ident(n.nspname) || '.' || quote_ident(t.relname) AS table_name,
    c.relname AS name,
    quote_ident(n.nspname) || '.' || quote_ident(t.relname) || '.' || quote_ident(c.relname)
        AS qualified_name,
    n.nspname = 'pg_toast' AS is_toast,
    c.relkind = 'I' AS is_partitioned,
    h.inhparent::bigint AS parent_oid,
    am.amname AS access_method,
    CASE
        WHEN c.relkind = 'I' THEN 0
        WHEN i.indexrelid IN (SELECT relation FROM locked WHERE mode = 'AccessExclusiveLock')
        THEN c.relpages::bigint * current_setting('block_size')::bigint
        -- 4 pages are half of the least that a report names by default. An index that VACUUM ANALYZE
        -- passed over, as it may, has an old note: of fewer entries than its table has rows.
        WHEN c.relpages BETWEEN 1 AND 4 AND c.reltuples >= 0.9::float8 * s.reltuples
        THEN c.relpages::bigint * current_setting('block_size')::bigint
        ELSE coalesce(pg_relation_size(i.indexrelid), 0)
    END AS size_bytes,
    CASE
        WHEN t.relpages > 0 OR t.relkind = 'p' THEN t.relpages::bigint
        WHEN i.indrelid IN (SELECT relation FROM locked WHERE mode = 'AccessExclusiveLock') THEN 0
        ELSE coalesce(pg_relation_size(i.indrelid), 0) / current_setting('block_size')::bigint
    END AS table_pages,
    -- The row of the catalog is that of the day the index was made or last became valid.
    age(i.xmin) AS xid_age,
    CASE
        WHEN current_setting('track_commit_timestamp')::boolean AND NOT pg_is_in_recovery()
        THEN extract(epoch FROM pg_xact_commit_timestamp(i.xmin))::float8
    END AS committed_at,
    pg_stat_get_numscans(i.indexrelid) AS scans,
    extract(epoch FROM pg_stat_get_lastscan(i.indexrelid))::float8 AS last_scan_at,  -- if >= 16
    NULL::float8 AS last_scan_at,  -- if < 16
    -- A HOT update touches no index.
    (
        pg_stat_get_tuples_inserted(i.indrelid) + pg_stat_get_tuples_updated(i.indrelid)
        - pg_stat_get_tuples_hot_updated(i.indrelid)
    ) AS writes,
    i.indisprimary AS is_primary,
    i.indisunique AS is_unique,
    i.indnullsnotdistinct AS nulls_not_distinct,  -- if >= 15
    false AS nulls_not_distinct,  -- if < 15
    i.indimmediate AS is_immediate,
    i.indisexclusion AS is_exclusion,
    i.indisreplident AS is_replica_identity,
    i.indisclustered AS is_clustered,
    coalesce(k.is_backed, false) AS has_constraint,
    coalesce(k.is_referenced, false) AS is_referenced,
    i.indisvalid AS is_valid,
    i.indisready AS is_ready,
    i.indislive AS is_live,
    -- CREATE INDEX and REINDEX show their progress; DROP INDEX CONCURRENTLY locks the index alone.
    (
        i.indrelid IN (SELECT l.relation FROM locked AS l JOIN builders AS b ON b.pid = l.pid)
        OR i.indexrelid IN (
            SELECT relation FROM locked WHERE mode = 'ShareUpdateExclusiveLock' AND granted
        )
    ) AS is_in_work,
    i.indnkeyatts::int AS key_count,
    i.indkey::text AS columns,
    i.indclass::text AS operator_classes,
    i.indcollation::text AS collations,
    i.indoption::text AS sort_options,
    coalesce(c.reloptions, '{}') AS storage_parameters,
    coalesce(o.text, '') AS operator_class_options,
    e.expressions AS expressions,
    e.predicate AS predicate
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_class AS t ON t.oid = i.indrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_am AS am ON am.oid = c.relam
LEFT JOIN settled AS s ON s.oid = i.indrelid
LEFT JOIN pg_inherits AS h ON h.inhrelid = i.indexrelid
LEFT JOIN constraints AS k ON k.conindid = i.indexrelid
LEFT JOIN options AS o ON o.attrelid = i.indexrelid
-- Where in a statement an expression stood, and whether a cast was written or understood, is part of
-- its tree, but not of its meaning: the server's own comparison leaves them out as well (equalfuncs.c).
CROSS JOIN LATERAL (
    SELECT
        regexp_replace(i.indexprs::text, ' :(location|\w*format) -?\d+', '', 'g') AS expressions,
        regexp_replace(i.indpred::text, ' :(location|\w*format) -?\d+', '', 'g') AS predicate
) AS e
WHERE c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND (n.nspname <> 'pg_toast' OR NOT i.indisvalid OR i.indrelid = %(table_oid)s::bigint::oid)
    AND (%(table_oid)s::bigint IS NULL OR i.indrelid = %(table_oid)s::bigint::oid)
ORDER BY n.nspname, t.relname, c.relname
