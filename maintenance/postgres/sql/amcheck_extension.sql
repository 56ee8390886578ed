-- Whether and where amcheck can be called: its schema, and the right to EXECUTE its functions.
SELECT
    current_user::text AS role,
    quote_ident(n.nspname) AS quoted_schema,
    n.nspname AS schema,
    coalesce(has_schema_privilege(n.oid, 'USAGE'), false) AS may_use_schema,
    coalesce(has_function_privilege(b.oid, 'EXECUTE'), false) AS may_check_indexes,
    EXISTS (
        SELECT
        FROM pg_proc AS p
        WHERE p.pronamespace = n.oid AND p.proname = 'verify_heapam'
            AND has_function_privilege(p.oid, 'EXECUTE')
    ) AS may_check_tables,
    -- Since 1.4 (PostgreSQL 17) a third argument compares the rows behind equal keys of a unique index.
    coalesce(b.pronargs = 3, false) AS compares_unique_keys
FROM (VALUES ('amcheck')) AS wanted (extension)
LEFT JOIN pg_extension AS e ON e.extname = wanted.extension
LEFT JOIN pg_namespace AS n ON n.oid = e.extnamespace
LEFT JOIN LATERAL (
    SELECT p.oid, p.pronargs
    FROM pg_proc AS p
    WHERE p.pronamespace = n.oid AND p.proname = 'bt_index_check'
    ORDER BY p.pronargs DESC
    LIMIT 1
) AS b ON true
