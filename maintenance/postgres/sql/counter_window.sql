-- Since when this server has counted. A crash zeroes the counters and clears the database's own
-- stats_reset, but stamps the cluster-wide one; a clean restart keeps both.
SELECT
    extract(epoch FROM w.started)::float8 AS started_at,
    extract(epoch FROM clock_timestamp())::float8 AS measured_at
FROM (
    SELECT greatest(
        (SELECT stats_reset FROM pg_stat_database WHERE datname = current_database()),
        (SELECT stats_reset FROM pg_stat_bgwriter)
    ) AS started
) AS w
