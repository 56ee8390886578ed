-- What went wrong or spilled to disk in this database since its counters began.
SELECT
    d.temp_files,
    d.temp_bytes,
    d.deadlocks,
    c.confl_lock AS conflicts_lock,
    c.confl_snapshot AS conflicts_snapshot,
    c.confl_bufferpin AS conflicts_bufferpin,
    c.confl_deadlock AS conflicts_deadlock,
    c.confl_tablespace AS conflicts_tablespace,
    d.checksum_failures,
    extract(epoch FROM d.checksum_last_failure)::float8 AS checksum_last_failure_at,
    (SELECT system_identifier::text FROM pg_control_system())
        -- Another one after each promotion: a standby has counters of its own.
        || '/' || (SELECT timeline_id FROM pg_control_checkpoint())
        || '/' || d.datid AS identity,
    current_setting('work_mem') AS work_mem,
    current_setting('log_temp_files') AS log_temp_files,
    pg_is_in_recovery() AS in_recovery
FROM pg_stat_database AS d
JOIN pg_stat_database_conflicts AS c ON c.datid = d.datid
WHERE d.datname = current_database()
