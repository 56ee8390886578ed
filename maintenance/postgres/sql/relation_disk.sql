-- Where a relation lies, as far as the role may know, and what tells whether that is on our machine.
SELECT
    (SELECT s.setting FROM pg_settings AS s WHERE s.name = 'data_directory') AS data_directory,
    nullif(pg_tablespace_location(c.reltablespace), '') AS tablespace_directory,
    pg_database_size(current_database()) AS database_bytes,
    extract(epoch FROM a.backend_start)::float8 AS backend_started_at
FROM pg_class AS c
CROSS JOIN pg_stat_activity AS a
WHERE c.oid = %(oid)s::bigint::oid
    AND a.pid = pg_backend_pid()
