-- What settings have to serve, when files were loaded last, and our own session's process, by which
-- a server on this machine is known.
SELECT
    (SELECT count(*)::int FROM pg_database WHERE datallowconn) AS databases,
    extract(epoch FROM pg_conf_load_time())::float8 AS loaded_at,
    extract(epoch FROM clock_timestamp())::float8 AS measured_at,
    a.pid AS backend_pid,
    extract(epoch FROM a.backend_start)::float8 AS backend_started_at,
    EXISTS (
        SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements'
    ) AS statements_installed,
    quote_ident(current_user) AS role
FROM pg_stat_activity AS a
WHERE a.pid = pg_backend_pid()
