-- Checkpoints and WAL since their counters began, with the settings that decide when they come.
SELECT
    c.num_timed AS timed,  -- if >= 17
    c.num_requested AS requested,  -- if >= 17
    c.write_time + c.sync_time AS busy_ms,  -- if >= 17
    c.checkpoints_timed AS timed,  -- if < 17
    c.checkpoints_req AS requested,  -- if < 17
    c.checkpoint_write_time + c.checkpoint_sync_time AS busy_ms,  -- if < 17
    extract(epoch FROM c.stats_reset)::float8 AS checkpoints_since,
    w.wal_bytes::bigint AS wal_bytes,
    extract(epoch FROM w.stats_reset)::float8 AS wal_since,
    CASE WHEN NOT pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0') END::bigint
        AS wal_position,
    extract(epoch FROM clock_timestamp())::float8 AS measured_at,
    s.system_identifier::text AS system_identifier,
    pg_is_in_recovery() AS in_recovery,
    pg_size_bytes(current_setting('max_wal_size')) AS max_wal_size_bytes,
    current_setting('max_wal_size') AS max_wal_size,
    pg_size_bytes(current_setting('wal_segment_size')) AS wal_segment_bytes,
    (SELECT setting::float8 FROM pg_settings WHERE name = 'checkpoint_timeout') AS timeout_seconds,
    current_setting('checkpoint_completion_target')::float8 AS completion_target
FROM pg_stat_wal AS w
CROSS JOIN pg_control_system() AS s
CROSS JOIN pg_stat_checkpointer AS c  -- if >= 17
CROSS JOIN pg_stat_bgwriter AS c  -- if < 17
