-- What a database holds: its tables by size, without the system's, and whether Django made them.
SELECT
    n.nspname::text AS schema,
    c.relname::text AS name,
    pg_total_relation_size(c.oid)::bigint AS size_bytes
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'p', 'm')
    AND NOT c.relispartition
    AND c.relpersistence <> 't'
    AND n.nspname <> 'information_schema'
    AND n.nspname !~ '^pg_'
ORDER BY size_bytes DESC, schema, name
