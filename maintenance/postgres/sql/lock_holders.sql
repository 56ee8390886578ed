-- Sessions whose locks on one table VACUUM and ANALYZE have to wait for; VACUUM FULL waits for any.
SELECT
    l.pid,
    a.usename::text AS user_name,
    a.application_name,
    a.state,
    l.mode,
    extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS transaction_seconds
FROM pg_locks AS l
LEFT JOIN pg_stat_activity AS a ON a.pid = l.pid
WHERE l.locktype = 'relation'
    AND l.granted
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.relation = %(oid)s::oid
    AND (
        %(any_mode)s
        OR l.mode IN (
            'ShareUpdateExclusiveLock', 'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock',
            'AccessExclusiveLock'
        )
    )
    AND l.pid IS DISTINCT FROM pg_backend_pid()
ORDER BY a.xact_start
