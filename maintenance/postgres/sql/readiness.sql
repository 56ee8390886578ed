-- What a role may do and how a server is set, for the look before any work: one row.
SELECT
    current_user::text AS role,
    quote_ident(current_user) AS quoted_role,
    current_database()::text AS database,
    (SELECT r.rolsuper FROM pg_roles AS r WHERE r.rolname = current_user) AS is_superuser,
    pg_has_role('pg_monitor', 'USAGE') AS has_monitor,
    pg_has_role('pg_read_all_data', 'USAGE') AS has_read_all_data,
    pg_has_role('pg_maintain', 'USAGE') AS has_maintain, -- if >= 17
    has_parameter_privilege('track_counts', 'SET') AS may_stop_counting, -- if >= 15
    pg_is_in_recovery() AS is_standby,
    extract(epoch FROM clock_timestamp())::float8 AS now_epoch_seconds,
    coalesce((SELECT s.ssl FROM pg_stat_ssl AS s WHERE s.pid = pg_backend_pid()), false) AS is_encrypted,
    has_function_privilege(
        'pg_catalog.pg_read_binary_file(text, bigint, bigint, boolean)', 'EXECUTE'
    ) AS may_read_files,
    (
        -- As a session of the site gets it: our own sets some of them otherwise.
        SELECT jsonb_object_agg(s.name, s.reset_val)
        FROM pg_settings AS s
        WHERE s.name IN (
            'shared_preload_libraries', 'track_counts', 'track_activities', 'track_io_timing',
            'autovacuum', 'compute_query_id', 'logging_collector', 'pg_stat_statements.track'
        )
    ) AS settings,
    (
        SELECT jsonb_object_agg(a.name, a.installed_version IS NOT NULL)
        FROM pg_available_extensions AS a
        WHERE a.name IN ('pg_stat_statements', 'pgstattuple', 'amcheck', 'hypopg')
    ) AS extensions
