-- How indexes are made again. pg_get_indexdef leaves out the tablespace, and it would wait for a
-- table that somebody else has locked.
SELECT
    c.oid::bigint AS oid,
    pg_get_indexdef(c.oid) AS definition,
    s.spcname AS tablespace
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
LEFT JOIN pg_tablespace AS s ON s.oid = c.reltablespace
WHERE i.indexrelid = ANY(%(oids)s::bigint[]::oid[])
    AND NOT EXISTS (
        SELECT
        FROM pg_locks AS l
        WHERE l.locktype = 'relation'
            AND l.mode = 'AccessExclusiveLock'
            AND l.relation IN (i.indrelid, i.indexrelid)
    )
