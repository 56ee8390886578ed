-- What a role may do and how a server is set, for the look before any work: one row.
SELECT
    current_user::text AS role,
    quote_ident(current_user) AS quoted_role,
    current_database()::text AS database,
    (SELECT r.rolsuper FROM pg_roles AS r WHERE r.rolname = current_user) AS is_superuser,
    pg_has_role('pg_monitor', 'USAGE') AS has_monitor,
    pg_has_role('pg_read_all_data', 'USAGE') AS has_read_all_data,
    pg_has_role('pg_maintain', 'USAGE') AS has_maintain, -- if >= 17
    -- Without pg_read_all_data as well: a role that owns them, or was granted each.
    NOT EXISTS (
        SELECT FROM pg_class AS c
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        WHERE c.relkind IN ('r', 'p', 'm', 'S')
            AND c.relpersistence <> 't'
            AND n.nspname <> 'information_schema'
            AND n.nspname !~ '^pg_'
            AND NOT (has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT'))
    ) AS reads_every_table,
    pg_has_role(d.datdba, 'USAGE') AS owns_database,
    pg_get_userbyid(d.datdba)::text AS database_owner,
    (SELECT r.rolsuper FROM pg_roles AS r WHERE r.oid = d.datdba) AS is_owner_superuser,
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
FROM pg_database AS d
WHERE d.datname = current_database()
