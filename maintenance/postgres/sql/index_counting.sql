-- Whether scans are counted, and whether other servers scan the same indexes uncounted.
SELECT
    current_setting('track_counts')::boolean AS counts,
    pg_is_in_recovery() AS is_standby,
    -- Rows are visible to everybody; without pg_read_all_stats only their columns are hidden.
    -- Subscribers have indexes of their own, and a backup reads none.
    (
        SELECT count(*)
        FROM pg_stat_replication AS r
        WHERE coalesce(r.application_name, '') NOT IN ('pg_basebackup', 'pg_receivewal')
            AND NOT EXISTS (
                SELECT
                FROM pg_replication_slots AS s
                WHERE s.active_pid = r.pid AND s.slot_type = 'logical'
            )
    ) AS replication_clients
