-- How archiving of WAL goes. The command itself may hold a secret and is not read, only whether
-- there is one.
SELECT
    current_setting('archive_mode') AS mode,
    pg_is_in_recovery() AS in_recovery,
    current_setting('archive_command') NOT IN ('', '(disabled)')
        OR current_setting('archive_library') <> ''  -- if >= 15
    AS has_destination,
    a.archived_count,
    a.failed_count,
    a.last_failed_wal,
    extract(epoch FROM a.last_archived_time)::float8 AS last_archived_at,
    extract(epoch FROM a.last_failed_time)::float8 AS last_failed_at,
    extract(epoch FROM clock_timestamp())::float8 AS measured_at,
    has_function_privilege('pg_ls_archive_statusdir()', 'EXECUTE') AS may_list,
    pg_size_bytes(current_setting('wal_segment_size')) AS wal_segment_bytes
FROM pg_stat_archiver AS a
