-- Those that stream from this server, and how far behind they are. What they do is hidden without
-- pg_read_all_stats.
SELECT
    r.pid,
    r.application_name,
    host(r.client_addr) AS client_address,
    r.state,
    r.sync_state,
    pg_wal_lsn_diff(here.lsn, r.replay_lsn)::bigint AS lag_bytes,
    pg_wal_lsn_diff(here.lsn, r.sent_lsn)::bigint AS unsent_bytes,
    extract(epoch FROM r.replay_lag)::float8 AS lag_seconds,
    (SELECT s.slot_type::text FROM pg_replication_slots AS s WHERE s.active_pid = r.pid) AS slot_kind
FROM pg_stat_replication AS r
CROSS JOIN (
    SELECT
        CASE
            WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn() ELSE pg_current_wal_lsn()
        END AS lsn
) AS here
ORDER BY r.application_name, r.pid
