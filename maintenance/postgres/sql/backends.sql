-- Every session but this one, with whom it waits for. Reads shared memory only and waits for no
-- lock; pg_blocking_pids is asked for waiting sessions alone, because it halts the lock manager.
WITH waiting AS (
    SELECT DISTINCT ON (l.pid)
        l.pid,
        l.mode,
        l.locktype,
        CASE
            WHEN l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            THEN l.relation::regclass::text
        END AS relation,
        l.waitstart
    FROM pg_locks AS l
    WHERE NOT l.granted AND l.pid IS NOT NULL
    ORDER BY l.pid, l.waitstart
)
SELECT
    a.pid,
    a.leader_pid,
    a.datname::text AS database,
    a.datname IS NOT DISTINCT FROM current_database() AS here,
    a.usename::text AS user_name,
    a.application_name,
    host(a.client_addr) AS client_address,
    a.backend_type,
    a.state,
    NOT (
        pg_has_role('pg_read_all_stats', 'USAGE')
        OR coalesce(pg_has_role(a.usesysid, 'USAGE'), false)
    ) AS hidden,
    a.query_id::text AS query_id,
    left(a.query, 10000) AS query,
    extract(epoch FROM clock_timestamp() - a.query_start)::float8 AS statement_seconds,
    extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS transaction_seconds,
    extract(epoch FROM clock_timestamp() - a.state_change)::float8 AS state_seconds,
    to_char(a.query_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00') AS statement_started_at,
    to_char(a.xact_start AT TIME ZONE 'UTC', 'YYYY-MM-DD HH24:MI:SS.US+00') AS transaction_started_at,
    CASE WHEN w.pid IS NULL THEN '{}' ELSE pg_blocking_pids(a.pid) END AS blocked_by,
    w.mode AS lock_mode,
    coalesce(w.relation, w.locktype) AS lock_on,
    extract(epoch FROM clock_timestamp() - w.waitstart)::float8 AS waited_seconds
FROM pg_stat_activity AS a
LEFT JOIN waiting AS w ON w.pid = a.pid
WHERE a.pid <> pg_backend_pid()
    AND a.leader_pid IS DISTINCT FROM pg_backend_pid()
    -- The server's own background processes have neither a user nor a database.
    AND (a.usesysid IS NOT NULL OR a.datid IS NOT NULL)
ORDER BY a.pid
