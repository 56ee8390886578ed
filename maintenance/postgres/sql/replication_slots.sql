-- Every replication slot, and how much WAL is kept for it.
SELECT
    s.slot_name::text AS name,
    s.slot_type::text AS kind,
    s.database::text AS database,
    s.active AS is_active,
    s.temporary AS is_temporary,
    s.wal_status,
    s.safe_wal_size AS safe_wal_bytes,
    CASE
        WHEN pg_is_in_recovery() THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), s.restart_lsn)
        ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), s.restart_lsn)
    END::bigint AS retained_bytes,
    CASE
        WHEN s.confirmed_flush_lsn IS NULL THEN NULL
        WHEN pg_is_in_recovery()
        THEN pg_wal_lsn_diff(pg_last_wal_replay_lsn(), s.confirmed_flush_lsn)
        ELSE pg_wal_lsn_diff(pg_current_wal_lsn(), s.confirmed_flush_lsn)
    END::bigint AS unconfirmed_bytes,
    greatest(age(s.xmin), age(s.catalog_xmin)) AS xid_age,
    s.synced AS is_synced,  -- if >= 17
    false AS is_synced,  -- if < 17
    s.invalidation_reason,  -- if >= 17
    NULL::text AS invalidation_reason,  -- if < 17
    extract(epoch FROM clock_timestamp() - s.inactive_since)::float8 AS inactive_seconds,  -- if >= 17
    NULL::float8 AS inactive_seconds,  -- if < 17
    current_setting('max_slot_wal_keep_size') = '-1' AS is_unlimited
FROM pg_replication_slots AS s
ORDER BY s.slot_name
