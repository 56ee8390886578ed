-- Whether scans are counted, and whether other servers scan the same indexes uncounted.
SELECT
    -- Our own session is not counted: what holds for others is what a RESET would bring.
    (SELECT t.reset_val::boolean FROM pg_settings AS t WHERE t.name = 'track_counts') AS counts,
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
