-- Whom a session of ours waits for, no row while it does not wait. The progress view still names the
-- last session when it is a prepared transaction (process 0) that is waited for: locks come first.
SELECT
    b.pid AS holder_pid,
    EXISTS (
        SELECT
        FROM pg_locks AS l
        WHERE l.pid = s.pid AND NOT l.granted AND l.locktype = 'relation'
    ) AS is_in_queue,
    a.usename::text AS user_name,
    a.application_name,
    a.state,
    extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS transaction_seconds
FROM pg_stat_activity AS s
LEFT JOIN pg_stat_progress_create_index AS p ON p.pid = s.pid
CROSS JOIN LATERAL (
    SELECT coalesce((pg_blocking_pids(s.pid))[1], p.current_locker_pid::int) AS pid
) AS b
LEFT JOIN pg_stat_activity AS a ON a.pid = b.pid
WHERE s.pid = %(pid)s
    AND s.wait_event_type = 'Lock'
    AND b.pid IS NOT NULL
