-- Since when statements are counted, and how often the least used ones had to make room.
SELECT
    extract(epoch FROM i.stats_reset)::float8 AS reset_at,
    i.dealloc AS evictions,
    extract(epoch FROM clock_timestamp())::float8 AS taken_at
FROM {schema}.pg_stat_statements_info AS i
