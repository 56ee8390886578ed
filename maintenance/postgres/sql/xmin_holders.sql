-- What keeps VACUUM from removing dead rows of this database, oldest first.
-- Running VACUUMs are left out: their snapshots hold nothing back.
SELECT h.*
FROM (
    SELECT
        CASE WHEN a.backend_type = 'walsender' THEN 'standby' ELSE 'session' END AS kind,
        a.pid::text AS name,
        a.usename::text AS user_name,
        a.application_name,
        a.state,
        extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS transaction_seconds,
        greatest(age(a.backend_xmin), age(a.backend_xid)) AS xid_age
    FROM pg_stat_activity AS a
    WHERE a.pid <> pg_backend_pid()
        AND coalesce(a.backend_xmin, a.backend_xid) IS NOT NULL
        AND (a.datname = current_database() OR a.backend_type = 'walsender')
        AND NOT EXISTS (SELECT FROM pg_stat_progress_vacuum AS v WHERE v.pid = a.pid)
    UNION ALL
    SELECT
        'prepared transaction', p.gid, p.owner::text, '', 'prepared',
        extract(epoch FROM clock_timestamp() - p.prepared)::float8, age(p.transaction)
    FROM pg_prepared_xacts AS p
    WHERE p.database = current_database()
    UNION ALL
    SELECT
        'replication slot', s.slot_name::text, '', '',
        CASE WHEN s.active THEN 'active' ELSE 'inactive' END, NULL, age(s.xmin)
    FROM pg_replication_slots AS s
    WHERE s.xmin IS NOT NULL
) AS h
ORDER BY h.xid_age DESC, h.transaction_seconds DESC NULLS LAST
