-- Columns that ANALYZE would describe and pg_stats does not show, a row for each table that holds
-- rows. pg_stats shows nothing of what may not be read: those tables are counted, not named.
SELECT
    c.oid::bigint AS oid,
    count(*) FILTER (WHERE v.visible) AS visible_columns,
    coalesce(
        array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE v.visible AND s.attname IS NULL),
        '{}'
    ) AS missing_columns
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN LATERAL (
    SELECT has_column_privilege(c.oid, a.attnum, 'SELECT') AND NOT (
        c.relrowsecurity AND row_security_active(c.oid)
    ) AS visible
) AS v
LEFT JOIN (
    SELECT DISTINCT p.schemaname, p.tablename, p.attname FROM pg_stats AS p
) AS s ON s.schemaname = n.nspname AND s.tablename = c.relname AND s.attname = a.attname
WHERE c.relkind IN ('r', 'm')
    AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND n.nspname <> ALL (%(exclude_schemas)s)
    AND (c.reltuples > 0 OR pg_stat_get_live_tuples(c.oid) > 0)
    AND coalesce(a.attstattarget, -1) <> 0
    AND a.attgenerated <> 'v'
GROUP BY c.oid
HAVING NOT bool_and(v.visible AND s.attname IS NOT NULL)
