-- Statements of this database, without those that read these statistics and without our own,
-- which carry a marker. From 18 on the server stores no comment that stands before a statement.
-- Of a text longer than 4000 characters the end is not needed.
-- queryid is null where the statement is another role's and the right to see it is missing.
SELECT
    s.userid::bigint AS user_oid,
    pg_get_userbyid(s.userid)::text AS user_name,
    s.queryid::text AS query_id,
    s.toplevel AS is_top_level,
    left(s.query, 4001) AS text,
    s.calls,
    s.total_exec_time AS total_ms,
    s.rows,
    s.shared_blks_hit AS hit_blocks,
    s.shared_blks_read AS read_blocks,
    s.temp_blks_written AS temp_blocks,
    s.wal_bytes::bigint AS wal_bytes,
    s.shared_blk_read_time AS read_ms,  -- if >= 17
    s.blk_read_time AS read_ms,  -- if < 17
    s.calls * (s.stddev_exec_time ^ 2 + s.mean_exec_time ^ 2) AS squares_ms2,
    s.max_exec_time AS worst_ms,
    extract(epoch FROM s.minmax_stats_since)::float8 AS worst_since,  -- if >= 17
    NULL::float8 AS worst_since,  -- if < 17
    extract(epoch FROM s.stats_since)::float8 AS counted_since  -- if >= 17
    NULL::float8 AS counted_since  -- if < 17
FROM {schema}.pg_stat_statements AS s
WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND strpos(s.query, '/* maintenance */') = 0
    AND strpos(s.query, 'pg_stat_statements') = 0
