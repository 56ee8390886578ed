-- Blocks that queries of this database found in shared buffers, and those they asked the operating
-- system for. The system identifier and the oid tell one database from another behind one name.
SELECT
    d.blks_hit AS blocks_hit,
    d.blks_read AS blocks_read,
    (SELECT system_identifier::text FROM pg_control_system())
        -- Another one after each promotion: a standby has counters of its own.
        || '/' || (SELECT timeline_id FROM pg_control_checkpoint())
        || '/' || d.datid AS database_identity,
    -- Our own session is not counted: what holds for others is what a RESET would bring.
    (SELECT t.reset_val = 'on' FROM pg_settings AS t WHERE t.name = 'track_counts') AS counts,
    pg_size_bytes(current_setting('shared_buffers')) AS shared_buffers_bytes
FROM pg_stat_database AS d
WHERE d.datname = current_database()
