-- The columns of tables with enough rows that values are compared with, with their statistics targets
-- and what their statistics hold: of common values how frequent they are, and never a value. Of what may
-- not be read pg_stats shows nothing. Types of extensions are left out: their operators are not found by
-- sessions that search pg_catalog alone.
SELECT
    c.oid::bigint AS oid,
    a.attnum::int AS number,
    n.nspname AS schema,
    c.relname AS table,
    a.attname AS name,
    quote_ident(n.nspname) || '.' || quote_ident(c.relname) || '.' || quote_ident(a.attname)
        AS qualified_name,
    quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS table_name,
    format_type(a.atttypid, a.atttypmod) AS type_name,
    c.reltuples::float8 AS rows,
    c.relpages::bigint AS pages,
    -- NULL from 17 on, -1 before.
    nullif(a.attstattarget, -1)::int AS own_target,
    current_setting('default_statistics_target')::int AS default_target,
    EXISTS (
        SELECT
        FROM pg_index AS i
        WHERE i.indrelid = c.oid
            AND i.indisvalid
            AND a.attnum = ANY ((i.indkey::int2[])[0:i.indnkeyatts - 1])
    ) OR EXISTS (
        SELECT
        FROM pg_constraint AS f
        WHERE f.conrelid = c.oid AND f.contype = 'f' AND a.attnum = ANY (f.conkey)
    ) AS is_searched,
    has_table_privilege(c.oid, 'SELECT')
        AND has_schema_privilege(n.oid, 'USAGE')
        AND NOT (c.relrowsecurity AND row_security_active(c.oid)) AS is_readable,
    pg_has_role(c.relowner, 'USAGE') AS may_alter,
    -- Membership of a superuser would be too much.
    CASE
        WHEN NOT r.rolsuper
        THEN 'GRANT ' || quote_ident(r.rolname) || ' TO ' || quote_ident(current_user) || ';'
        ELSE ''
    END AS grant,
    s.n_distinct::float8 AS distinct,
    s.null_frac::float8 AS null_ratio,
    cardinality(s.most_common_freqs) AS common_values,
    (SELECT sum(f)::float8 FROM unnest(s.most_common_freqs) AS f) AS common_ratio,
    s.most_common_freqs[cardinality(s.most_common_freqs)]::float8 AS least_common_ratio
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_roles AS r ON r.oid = c.relowner
JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
JOIN pg_type AS t ON t.oid = a.atttypid
-- OFFSET 0 has each column looked up, rather than the whole view read.
LEFT JOIN LATERAL (
    SELECT p.n_distinct, p.null_frac, p.most_common_freqs
    FROM pg_stats AS p
    WHERE p.schemaname = n.nspname
        AND p.tablename = c.relname
        AND p.attname = a.attname
        AND NOT p.inherited
    OFFSET 0
) AS s ON true
WHERE c.relkind = 'r'
    AND c.relpersistence <> 't'
    AND c.reltuples >= %(least_rows)s
    AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND n.nspname <> ALL (%(exclude_schemas)s)
    AND a.attgenerated <> 'v'
    AND (
        t.typtype = 'e'
        OR (
            t.typnamespace = 'pg_catalog'::regnamespace
            AND (t.typcategory IN ('N', 'S', 'D', 'T', 'I') OR t.typname = 'uuid')
        )
    )
ORDER BY c.reltuples DESC, c.oid, a.attnum
