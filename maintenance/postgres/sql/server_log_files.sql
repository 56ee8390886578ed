-- The files in log_directory. pg_monitor may list them.
SELECT
    name,
    size AS size_bytes,
    extract(epoch FROM modification)::float8 AS modified_at
FROM pg_ls_logdir()
