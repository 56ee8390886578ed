-- The named tables as VACUUM FULL would take them: what it reads, what it writes anew, who may do it.
-- Sizes need a lock on the relation; one that somebody locks exclusively or waits to is left out.
SELECT
    c.oid::bigint AS oid,
    n.nspname AS schema,
    c.relname AS name,
    quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS qualified_name,
    pg_relation_size(c.oid) AS heap_bytes,
    pg_table_size(c.oid) - pg_relation_size(c.oid) AS toast_bytes,
    pg_indexes_size(c.oid) AS index_bytes,
    n.nspname IN ('pg_catalog', 'information_schema') AS is_catalog,
    (
        pg_has_role(c.relowner, 'USAGE')
        OR (SELECT pg_has_role(datdba, 'USAGE') FROM pg_database WHERE datname = current_database())
        OR has_table_privilege(c.oid, 'MAINTAIN')  -- if >= 17
    ) AS may_maintain
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm')
    AND c.relpersistence <> 't'
    AND quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY (%(names)s)
    AND NOT EXISTS (
        SELECT FROM pg_locks AS l
        WHERE l.relation = c.oid AND l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
    )
