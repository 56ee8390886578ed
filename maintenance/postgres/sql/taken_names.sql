-- Relations of some schemas whose names begin like the tables of these names.
SELECT n.nspname AS schema, c.relname AS name
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE n.nspname = ANY(%(schemas)s::text[])
    AND EXISTS (
        SELECT FROM unnest(%(beginnings)s::text[]) AS b (beginning) WHERE c.relname ^@ b.beginning
    )
