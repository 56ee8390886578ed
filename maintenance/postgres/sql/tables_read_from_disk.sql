-- The tables whose blocks, with those of their indexes and TOAST table, were missed most often in
-- shared buffers, since the counters began.
SELECT
    quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS "table",
    s.blocks_read,
    s.blocks_hit,
    c.relpages::bigint * current_setting('block_size')::bigint AS table_bytes
FROM (
    SELECT
        r.owner_oid,
        sum(pg_stat_get_blocks_hit(r.oid))::bigint AS blocks_hit,
        sum(pg_stat_get_blocks_fetched(r.oid) - pg_stat_get_blocks_hit(r.oid))::bigint
            AS blocks_read
    FROM (
        SELECT t.oid, t.oid AS owner_oid FROM pg_class AS t WHERE t.relkind IN ('r', 'm')
        UNION ALL
        SELECT i.indexrelid, i.indrelid FROM pg_index AS i
        UNION ALL
        SELECT t.reltoastrelid, t.oid FROM pg_class AS t WHERE t.reltoastrelid <> 0
    ) AS r
    GROUP BY r.owner_oid
) AS s
JOIN pg_class AS c ON c.oid = s.owner_oid AND c.relkind IN ('r', 'm')
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE s.blocks_read > 0 AND n.nspname <> ALL (%(exclude_schemas)s)
ORDER BY s.blocks_read DESC, c.oid
LIMIT %(limit)s
