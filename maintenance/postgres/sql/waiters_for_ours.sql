-- Sessions of others that wait for a lock which one of ours holds, or waits for in front of them.
SELECT
    w.pid,
    b.pid AS our_pid,
    a.usename::text AS user_name,
    a.application_name,
    a.state,
    extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS transaction_seconds,
    -- The start of the wait is noted a moment after it begins.
    coalesce(extract(epoch FROM clock_timestamp() - w.waitstart)::float8, 0) AS waited_seconds
FROM pg_locks AS w
CROSS JOIN LATERAL unnest(pg_blocking_pids(w.pid)) AS b (pid)
LEFT JOIN pg_stat_activity AS a ON a.pid = w.pid
WHERE NOT w.granted
    AND b.pid = ANY (%(ours)s::int[])
    AND w.pid <> ALL (%(ours)s::int[])
    AND coalesce(a.backend_type, '') <> 'autovacuum worker'
    AND NOT starts_with(coalesce(a.application_name, ''), 'maintenance:')
ORDER BY waited_seconds DESC
