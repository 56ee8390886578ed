-- This server's place in replication. replayed_seconds_ago says nothing while the primary is idle;
-- has_primary is null where the role may not see the setting.
SELECT
    pg_is_in_recovery() AS in_recovery,
    pg_has_role('pg_read_all_stats', 'USAGE') AS shows_everything,
    (SELECT setting::bigint FROM pg_settings WHERE name = 'wal_keep_size') AS wal_keep_mb,
    CASE WHEN pg_is_in_recovery() THEN pg_is_wal_replay_paused() END AS is_replay_paused,
    pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn())::bigint AS replay_lag_bytes,
    extract(epoch FROM clock_timestamp() - pg_last_xact_replay_timestamp())::float8
        AS replayed_seconds_ago,
    EXISTS (SELECT FROM pg_stat_wal_receiver) AS is_receiving,
    (SELECT setting <> '' FROM pg_settings WHERE name = 'primary_conninfo') AS has_primary
