-- How indexes are made again. pg_get_indexdef leaves out the tablespace.
SELECT
    c.oid::bigint AS oid,
    pg_get_indexdef(c.oid) AS definition,
    s.spcname AS tablespace
FROM pg_class AS c
LEFT JOIN pg_tablespace AS s ON s.oid = c.reltablespace
WHERE c.oid = ANY(%(oids)s::bigint[]::oid[])
