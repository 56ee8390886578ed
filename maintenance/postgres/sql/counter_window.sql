-- Since when this server has counted. A crash zeroes the counters and clears the database's own
-- stats_reset, but stamps the cluster-wide one; a clean restart keeps both. From 15 on a new database
-- has no stats_reset, and would seem to have counted for as long as its cluster.
SELECT
    extract(epoch FROM w.started)::float8 AS started_at,
    extract(epoch FROM clock_timestamp())::float8 AS measured_at,
    has_function_privilege('pg_stat_file(text, boolean)', 'EXECUTE') AS may_look_at_files
FROM (
    SELECT greatest(
        (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()),
        (SELECT stats_reset FROM pg_stat_bgwriter),
        -- When the database was made; a later ALTER DATABASE writes the row anew.
        CASE
            WHEN current_setting('track_commit_timestamp')::boolean AND NOT pg_is_in_recovery()
            THEN (
                SELECT pg_xact_commit_timestamp(d.xmin)
                FROM pg_database AS d
                WHERE d.datname = current_database()
            )
        END
    ) AS started
) AS w
