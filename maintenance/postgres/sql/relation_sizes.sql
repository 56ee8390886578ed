-- The largest tables (with their TOAST) and the largest indexes; partitions count as one.
-- Sizes are asked of the file system for these alone; among many partitions, of those above a
-- megabyte (128 pages), for the others what the last VACUUM or ANALYZE noted will do. A relation that
-- somebody locks exclusively is not waited for. Who is among the largest is decided by that note,
-- brought up to date by the number of live rows. Where it is missing a guess from the rows stands in,
-- also for btrees: VACUUM passes over those of a table that only grows (13+), and their note is old.
WITH locked AS MATERIALIZED (
    SELECT l.relation
    FROM pg_locks AS l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
),
tables AS MATERIALIZED (
    SELECT
        c.oid,
        CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::oid ELSE c.oid END AS root_oid,
        c.reltoastrelid AS toast_oid,
        c.relpages,
        c.reltuples,
        pg_stat_get_live_tuples(c.oid) AS live_rows
    FROM pg_class AS c
    JOIN pg_namespace AS n ON n.oid = c.relnamespace
    WHERE c.relkind IN ('r', 'm')
        AND c.relpersistence <> 't'
        -- Of the catalogs only large objects grow with the site.
        AND (n.nspname <> 'pg_catalog' OR c.relname LIKE 'pg\_largeobject%%')
        AND n.nspname NOT IN ('information_schema', 'pg_toast')
        AND n.nspname <> ALL (%(exclude_schemas)s)
),
toast_tables AS MATERIALIZED (
    SELECT
        t.root_oid, c.oid, c.relpages, c.reltuples, pg_stat_get_live_tuples(c.oid) AS live_rows
    FROM tables AS t
    JOIN pg_class AS c ON c.oid = t.toast_oid
),
-- Each relation with the rows of its table, and how many of them a page of it holds for a guess.
members AS (
    SELECT
        'table' AS kind, t.root_oid, t.oid, t.relpages, t.reltuples, t.live_rows,
        50 AS rows_per_page, false AS is_index
    FROM tables AS t
    UNION ALL
    SELECT 'table', t.root_oid, t.oid, t.relpages, t.reltuples, t.live_rows, 4, false
    FROM toast_tables AS t
    UNION ALL
    SELECT 'table', t.root_oid, c.oid, c.relpages, t.reltuples, t.live_rows, 400, true
    FROM toast_tables AS t
    JOIN pg_index AS i ON i.indrelid = t.oid
    JOIN pg_class AS c ON c.oid = i.indexrelid
    UNION ALL
    SELECT
        'index',
        CASE WHEN c.relispartition THEN pg_partition_root(c.oid)::oid ELSE c.oid END,
        c.oid, c.relpages, t.reltuples, t.live_rows,
        CASE WHEN m.amname = 'btree' AND i.indpred IS NULL THEN 400 END,
        true
    FROM tables AS t
    JOIN pg_index AS i ON i.indrelid = t.oid
    JOIN pg_class AS c ON c.oid = i.indexrelid
    JOIN pg_am AS m ON m.oid = c.relam
),
noted AS MATERIALIZED (
    SELECT
        m.kind,
        m.root_oid,
        m.oid,
        m.relpages::bigint AS noted_pages,
        greatest(
            m.relpages,
            CASE
                WHEN m.reltuples > 0 THEN m.relpages * (m.live_rows / m.reltuples::float8)
                ELSE m.live_rows / m.rows_per_page
            END,
            CASE WHEN m.is_index THEN m.live_rows / m.rows_per_page END
        )::bigint AS pages
    FROM members AS m
),
largest AS (
    SELECT s.kind, s.root_oid, s.members
    FROM (
        SELECT
            g.kind,
            g.root_oid,
            count(*) AS members,
            row_number() OVER (PARTITION BY g.kind ORDER BY sum(g.pages) DESC, g.root_oid) AS place
        FROM noted AS g
        GROUP BY g.kind, g.root_oid
    ) AS s
    WHERE s.place <= %(limit)s
)
SELECT
    g.kind,
    quote_ident(n.nspname) || '.' || quote_ident(coalesce(t.relname, c.relname))
        || CASE WHEN t.oid IS NULL THEN '' ELSE '.' || quote_ident(c.relname) END AS qualified_name,
    sum(
        CASE
            WHEN (g.pages < 128 AND l.members > 300) OR g.oid IN (SELECT relation FROM locked)
            THEN g.noted_pages * current_setting('block_size')::bigint
            ELSE coalesce(pg_relation_size(g.oid), 0)
        END
    )::bigint AS size_bytes,
    bool_or(g.oid IN (SELECT relation FROM locked)) AS is_locked
FROM noted AS g
JOIN largest AS l ON l.kind = g.kind AND l.root_oid = g.root_oid
JOIN pg_class AS c ON c.oid = g.root_oid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
LEFT JOIN pg_class AS t ON t.oid = i.indrelid
GROUP BY g.kind, g.root_oid, n.nspname, t.oid, t.relname, c.relname
ORDER BY size_bytes DESC, qualified_name
