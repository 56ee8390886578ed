-- Columns that ANALYZE would describe and pg_stats does not show, a row for each table of more than
-- some rows. pg_stats shows nothing of what may not be read: those tables are counted, not named,
-- whatever their size. The view is asked table by table, which takes less than to read it as a whole,
-- and rights on single columns only where the one on the table is missing.
SELECT
    t.oid::bigint AS oid,
    count(*) FILTER (WHERE v.visible) AS visible_columns,
    coalesce(
        array_agg(a.attname::text ORDER BY a.attnum) FILTER (WHERE v.visible AND NOT v.described),
        '{}'
    ) AS missing_columns
FROM (
    SELECT
        r.oid,
        r.readable,
        r.hidden_by_policy,
        CASE WHEN r.rows > %(too_few_rows)s THEN ARRAY(
            SELECT p.attname
            FROM pg_stats AS p
            WHERE p.schemaname = r.schema AND p.tablename = r.name
        ) END AS described_columns
    FROM (
        SELECT
            c.oid,
            n.nspname AS schema,
            c.relname AS name,
            CASE WHEN c.reltuples > 0 THEN c.reltuples ELSE pg_stat_get_live_tuples(c.oid) END
                AS rows,
            has_table_privilege(c.oid, 'SELECT') AS readable,
            c.relrowsecurity AND row_security_active(c.oid) AS hidden_by_policy
        FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'm')
            AND c.relpersistence <> 't'
            AND n.nspname NOT IN ('pg_catalog', 'information_schema')
            AND n.nspname <> ALL (%(exclude_schemas)s)
    ) AS r
    WHERE r.rows > 0
        -- Nothing can be said of a table that is readable and small.
        AND (r.rows > %(too_few_rows)s OR NOT r.readable OR r.hidden_by_policy)
    OFFSET 0
) AS t
JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped
CROSS JOIN LATERAL (
    SELECT
        NOT t.hidden_by_policy AND (t.readable OR has_column_privilege(t.oid, a.attnum, 'SELECT'))
            AS visible,
        t.described_columns IS NULL OR a.attname = ANY (t.described_columns) AS described
) AS v
WHERE coalesce(a.attstattarget, -1) <> 0
    AND a.attgenerated <> 'v'
GROUP BY t.oid
HAVING NOT bool_and(v.visible AND v.described)
