-- Whole texts of some statements of this database; where several entries have one, any of them.
SELECT DISTINCT ON (s.queryid)
    s.queryid::text AS query_id,
    left(s.query, 20001) AS text
FROM {schema}.pg_stat_statements AS s
WHERE s.dbid = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND s.queryid = ANY(%(query_ids)s::bigint[])
ORDER BY s.queryid, length(s.query)
