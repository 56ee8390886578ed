-- Whether pg_stat_statements can be read here, and if not, what is missing. The extension may lie
-- in any schema. Its settings exist only where the library is loaded.
SELECT
    e.extversion AS version,
    n.nspname AS schema,
    EXISTS (SELECT FROM pg_settings WHERE name = 'pg_stat_statements.max') AS is_loaded,
    (SELECT setting FROM pg_settings WHERE name = 'pg_stat_statements.track') AS track,
    (SELECT setting FROM pg_settings WHERE name = 'compute_query_id') AS compute_query_id,
    EXISTS (SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements') AS is_installed,
    coalesce(has_schema_privilege(n.oid, 'USAGE'), false) AS may_use_schema,
    coalesce(has_table_privilege(v.oid, 'SELECT'), false) AS may_select,
    quote_ident(n.nspname) AS quoted_schema,
    quote_ident(current_user) AS role,
    current_setting('block_size')::int AS block_bytes
FROM (VALUES ('pg_stat_statements')) AS wanted (name)
LEFT JOIN pg_extension AS e ON e.extname = wanted.name
LEFT JOIN pg_namespace AS n ON n.oid = e.extnamespace
LEFT JOIN pg_class AS v ON v.relnamespace = n.oid AND v.relname = 'pg_stat_statements'
