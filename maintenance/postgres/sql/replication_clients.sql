-- Who may scan the same indexes on another server, uncounted here: physical replication clients, and
-- those that are away, for which a slot is kept. Rows are visible to everybody; without
-- pg_read_all_stats the names of applications are hidden. Subscribers have indexes of their own, and a
-- backup reads none.
SELECT
    nullif(r.application_name, '') AS application_name,
    s.slot_name::text AS slot_name
FROM pg_stat_replication AS r
FULL JOIN pg_replication_slots AS s ON s.active_pid = r.pid
WHERE coalesce(r.application_name, '') NOT IN ('pg_basebackup', 'pg_receivewal', 'barman_receive_wal')
    AND coalesce(s.slot_type, 'physical') = 'physical'
    -- A base backup's, if its session has just ended.
    AND NOT (r.pid IS NULL AND s.temporary)
ORDER BY s.slot_name, r.application_name
