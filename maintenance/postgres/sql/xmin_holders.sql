-- What keeps VACUUM from removing dead rows, oldest first. Transactions of other databases, which
-- "elsewhere" names, hold back the catalogs that all databases share, and nothing else of this one.
-- Running VACUUMs are left out: their snapshots hold nothing back.
-- A slot's catalog_xmin keeps rows of system catalogs only, and those of every database.
SELECT h.*
FROM (
    SELECT
        CASE WHEN a.backend_type = 'walsender' THEN 'standby' ELSE 'session' END AS kind,
        a.pid::text AS name,
        a.usename::text AS user_name,
        a.application_name,
        a.state,
        extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS transaction_seconds,
        greatest(age(a.backend_xmin), age(a.backend_xid)) AS xid_age,
        false AS catalogs_only,
        NULL::bigint AS kept_wal_bytes,
        NULL::float8 AS inactive_seconds,
        CASE
            WHEN a.datname <> current_database() AND a.backend_type IS DISTINCT FROM 'walsender'
            THEN a.datname::text
            ELSE ''
        END AS elsewhere
    FROM pg_stat_activity AS a
    WHERE a.pid <> pg_backend_pid()
        AND coalesce(a.backend_xmin, a.backend_xid) IS NOT NULL
        AND (a.datname IS NOT NULL OR a.backend_type = 'walsender')
        AND NOT EXISTS (SELECT FROM pg_stat_progress_vacuum AS v WHERE v.pid = a.pid)
    UNION ALL
    SELECT
        'prepared transaction', p.gid, p.owner::text, '', 'prepared',
        extract(epoch FROM clock_timestamp() - p.prepared)::float8, age(p.transaction),
        false, NULL, NULL,
        CASE WHEN p.database <> current_database() THEN p.database::text ELSE '' END
    FROM pg_prepared_xacts AS p
    UNION ALL
    SELECT
        'replication slot', s.slot_name::text, '', '',
        CASE WHEN s.active THEN 'active' ELSE 'inactive' END, NULL, age(x.held),
        x.catalogs_only,
        pg_wal_lsn_diff(
            CASE
                WHEN pg_is_in_recovery() THEN pg_last_wal_replay_lsn()
                ELSE pg_current_wal_lsn()
            END,
            s.restart_lsn
        )::bigint,
        extract(epoch FROM clock_timestamp() - s.inactive_since)::float8,  -- if >= 17
        NULL::float8,  -- if < 17
        ''
    FROM pg_replication_slots AS s
    CROSS JOIN LATERAL (VALUES (s.xmin, false), (s.catalog_xmin, true)) AS x (held, catalogs_only)
    WHERE x.held IS NOT NULL
        AND s.wal_status IS DISTINCT FROM 'lost'  -- if >= 16
) AS h
ORDER BY h.xid_age DESC, h.transaction_seconds DESC NULLS LAST
