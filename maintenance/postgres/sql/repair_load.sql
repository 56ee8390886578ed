-- What a server is busy with beside our own sessions. What others do is shown to pg_read_all_stats
-- alone: without it their number is unknown, not zero.
SELECT
    CASE
        WHEN pg_has_role(current_user, 'pg_read_all_stats', 'USAGE')
        THEN (
            SELECT count(*)
            FROM pg_stat_activity AS a
            WHERE a.state = 'active'
                AND a.backend_type = 'client backend'
                AND a.pid <> pg_backend_pid()
                AND a.pid <> ALL (%(ours)s::int[])
                AND NOT starts_with(a.application_name, 'maintenance:')
        )
    END AS active_sessions,
    (
        SELECT count(DISTINCT l.pid)
        FROM pg_locks AS l
        WHERE NOT l.granted AND l.pid <> pg_backend_pid() AND l.pid <> ALL (%(ours)s::int[])
    ) AS lock_waiters,
    (
        SELECT max(extract(epoch FROM r.replay_lag))::float8
        FROM pg_stat_replication AS r
        WHERE r.state = 'streaming'
    ) AS replica_lag_seconds,
    CASE
        WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint
    END AS wal_bytes
