-- What the server logs, where to, and whether this role may read it there. A setting that the role
-- may not see is null: log_directory needs pg_read_all_settings.
SELECT
    bool_or(s.setting = 'on') FILTER (WHERE s.name = 'logging_collector') AS is_collected,
    max(s.setting) FILTER (WHERE s.name = 'log_destination') AS destinations,
    max(s.setting) FILTER (WHERE s.name = 'log_directory') AS directory,
    max(s.setting) FILTER (WHERE s.name = 'log_line_prefix') AS line_prefix,
    max(s.setting) FILTER (WHERE s.name = 'lc_messages') AS message_locale,
    (max(s.setting) FILTER (WHERE s.name = 'log_min_duration_statement'))::float8
        AS minimum_ms,
    (max(s.setting) FILTER (WHERE s.name = 'log_min_duration_sample'))::float8
        AS sample_minimum_ms,
    bool_or(s.setting = 'on') FILTER (WHERE s.name = 'log_lock_waits') AS logs_lock_waits,
    has_function_privilege('pg_ls_logdir()', 'EXECUTE') AS may_list,
    has_function_privilege('pg_read_binary_file(text,bigint,bigint,boolean)', 'EXECUTE')
        AS may_read,
    current_database()::text AS database_name,
    quote_ident(current_user) AS role_name
FROM pg_settings AS s
