-- Every index of the user tables with its counters, and invalid ones of TOAST tables.
-- No lock is waited for: pg_relation_size would wait behind whoever holds or awaits an
-- AccessExclusiveLock, and there the size is that of the last VACUUM. Expressions and predicates are
-- compared as the trees that the catalog keeps, because pg_get_expr would wait as well.
WITH locked AS MATERIALIZED (
    SELECT l.relation
    FROM pg_locks AS l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
)
SELECT
    i.indexrelid::bigint AS oid,
    i.indrelid::bigint AS table_oid,
    n.nspname AS schema,
    quote_ident(n.nspname) || '.' || quote_ident(t.relname) AS table_name,
    c.relname AS name,
    quote_ident(n.nspname) || '.' || quote_ident(t.relname) || '.' || quote_ident(c.relname)
        AS qualified_name,
    c.relkind = 'I' AS is_partitioned,
    h.inhparent::bigint AS parent_oid,
    am.amname AS access_method,
    CASE
        WHEN c.relkind = 'I' THEN 0
        WHEN i.indexrelid IN (SELECT relation FROM locked)
        THEN c.relpages::bigint * current_setting('block_size')::bigint
        ELSE coalesce(pg_relation_size(i.indexrelid), 0)
    END AS size_bytes,
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
    i.indisexclusion AS is_exclusion,
    i.indisreplident AS is_replica_identity,
    i.indisclustered AS is_clustered,
    EXISTS (
        SELECT FROM pg_constraint AS k WHERE k.conindid = i.indexrelid AND k.contype IN ('p', 'u', 'x')
    ) AS has_constraint,
    i.indisvalid AS is_valid,
    i.indisready AS is_ready,
    i.indislive AS is_live,
    EXISTS (
        SELECT
        FROM pg_stat_progress_create_index AS p
        JOIN pg_locks AS l ON l.pid = p.pid AND l.locktype = 'relation' AND l.relation = i.indrelid
        WHERE p.datname = current_database()
    ) AS is_in_work,
    i.indnkeyatts::int AS key_count,
    i.indkey::int2[]::int4[] AS columns,
    (
        SELECT coalesce(array_agg(quote_ident(a.attname) ORDER BY k.position), '{}')
        FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (attnum, position)
        JOIN pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    ) AS column_names,
    -- What a rebuilt index shares with the one it was copied from.
    concat_ws(
        ' | ', am.amname, i.indisunique, i.indkey, i.indnkeyatts, i.indclass, i.indcollation,
        i.indoption, e.expressions, e.predicate,
        i.indnullsnotdistinct,  -- if >= 15
        i.indisexclusion
    ) AS structure,
    i.indexprs IS NOT NULL AS has_expression,
    e.predicate AS predicate
FROM pg_index AS i
-- Where in a statement an expression stood is part of its tree, but not of its meaning.
CROSS JOIN LATERAL (
    SELECT
        regexp_replace(i.indexprs::text, ' :location -?\d+', '', 'g') AS expressions,
        regexp_replace(i.indpred::text, ' :location -?\d+', '', 'g') AS predicate
) AS e
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_class AS t ON t.oid = i.indrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_am AS am ON am.oid = c.relam
LEFT JOIN pg_inherits AS h ON h.inhrelid = i.indexrelid
WHERE c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND (n.nspname <> 'pg_toast' OR NOT i.indisvalid)
ORDER BY n.nspname, t.relname, c.relname
