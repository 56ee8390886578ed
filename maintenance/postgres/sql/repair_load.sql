-- What a server is busy with beside our own sessions. What others do is shown to pg_read_all_stats
-- alone: without it their number is unknown, not zero.
-- A site of short statements has often none at work at the very moment of a look, so that those who
-- had one within the last second count as well.
SELECT
    CASE WHEN may.see THEN others.active_sessions END AS active_sessions,
    CASE WHEN may.see THEN others.recent_sessions END AS recent_sessions,
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
    -- A time is only known of what has been answered: one that was away is told by what it has to read.
    -- Subscribers and archives of WAL may stay so for days, and are waited for by nobody who reads.
    (
        SELECT
            max(
                CASE
                    WHEN NOT pg_is_in_recovery()
                    THEN pg_wal_lsn_diff(pg_current_wal_lsn(), coalesce(r.replay_lsn, r.sent_lsn))
                END
            )::bigint
        FROM pg_stat_replication AS r
        WHERE r.state = 'catchup'
            AND r.application_name NOT IN ('pg_basebackup', 'pg_receivewal', 'barman_receive_wal')
            AND NOT EXISTS (
                SELECT FROM pg_replication_slots AS s
                WHERE s.active_pid = r.pid AND s.slot_type = 'logical'
            )
    ) AS catching_up_bytes,
    CASE
        WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint
    END AS wal_bytes,
    pg_size_bytes(current_setting('max_wal_size')) AS max_wal_bytes
FROM (SELECT pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS see) AS may
CROSS JOIN (
    SELECT
        count(*) FILTER (WHERE a.state = 'active') AS active_sessions,
        count(*) FILTER (
            WHERE a.state = 'active' OR a.state_change > clock_timestamp() - interval '1 second'
        ) AS recent_sessions
    FROM pg_stat_activity AS a
    WHERE a.backend_type = 'client backend'
        AND a.pid <> pg_backend_pid()
        AND a.pid <> ALL (%(ours)s::int[])
        AND NOT starts_with(a.application_name, 'maintenance:')
) AS others
