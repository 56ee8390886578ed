-- What settings have to serve: databases, and checkpoints since the counters began. The time at
-- which files were loaded last says whether today's settings stood all the while.
SELECT
    (SELECT count(*)::int FROM pg_database WHERE datallowconn) AS databases,
    c.num_timed::int AS timed_checkpoints,  -- if >= 17
    c.num_requested::int AS requested_checkpoints,  -- if >= 17
    c.checkpoints_timed::int AS timed_checkpoints,  -- if < 17
    c.checkpoints_req::int AS requested_checkpoints,  -- if < 17
    extract(epoch FROM c.stats_reset)::float8 AS counted_since,
    extract(epoch FROM pg_conf_load_time())::float8 AS loaded_at,
    extract(epoch FROM clock_timestamp())::float8 AS measured_at,
    pg_backend_pid() AS backend_pid,
    (
        SELECT extract(epoch FROM a.backend_start)::float8
        FROM pg_stat_activity AS a
        WHERE a.pid = pg_backend_pid()
    ) AS backend_started_at,
    EXISTS (
        SELECT FROM pg_available_extensions WHERE name = 'pg_stat_statements'
    ) AS statements_installed,
    quote_ident(current_user) AS role
FROM pg_stat_checkpointer AS c  -- if >= 17
FROM pg_stat_bgwriter AS c  -- if < 17
