-- Whether scans are counted, and whether other servers scan the same indexes uncounted.
SELECT
    current_setting('track_counts')::boolean AS counts,
    pg_is_in_recovery() AS is_standby,
    -- Rows are visible to everybody; without pg_read_all_stats only their columns are hidden.
    (SELECT count(*) FROM pg_stat_replication) AS replication_clients
