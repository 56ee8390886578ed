-- Tables by name, in any schema, with the planner's own numbers. A table that somebody locks
-- exclusively is left out: its indexes could not be read without waiting.
SELECT
    c.oid::bigint AS oid,
    n.nspname AS schema,
    c.relname AS name,
    quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS qualified_name,
    c.relkind::text AS kind,
    c.relhasindex AS has_indexes,
    greatest(c.reltuples, 0)::float8 AS rows,
    c.relpages::bigint * current_setting('block_size')::bigint AS size_bytes,
    coalesce(
        (
            SELECT array_agg(quote_ident(a.attname) ORDER BY k.position)
            FROM pg_constraint AS p
            CROSS JOIN unnest(p.conkey) WITH ORDINALITY AS k (attnum, position)
            JOIN pg_attribute AS a ON a.attrelid = p.conrelid AND a.attnum = k.attnum
            WHERE p.conrelid = c.oid AND p.contype = 'p'
        ),
        '{}'
    ) AS primary_key,
    ARRAY(
        SELECT quote_ident(a.attname)
        FROM pg_constraint AS f
        JOIN pg_attribute AS a ON a.attrelid = f.conrelid AND a.attnum = f.conkey[1]
        WHERE f.conrelid = c.oid AND f.contype = 'f'
    ) AS foreign_keys
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relname = ANY(%(names)s::text[])
    AND c.relkind IN ('r', 'm', 'p')
    AND c.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema')
    AND NOT EXISTS (
        SELECT
        FROM pg_locks AS l
        WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock' AND l.relation = c.oid
    )
ORDER BY c.oid
