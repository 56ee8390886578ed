-- Partitions (tables and partitioned tables) with the root of their tree.
WITH RECURSIVE trees AS (
    SELECT c.oid, c.oid AS root
    FROM pg_class AS c
    WHERE c.relkind = 'p' AND NOT c.relispartition
    UNION ALL
    SELECT h.inhrelid, trees.root
    FROM trees
    JOIN pg_inherits AS h ON h.inhparent = trees.oid
)
SELECT trees.oid::bigint AS oid, n.nspname || '.' || r.relname AS root_name
FROM trees
JOIN pg_class AS r ON r.oid = trees.root
JOIN pg_namespace AS n ON n.oid = r.relnamespace
WHERE trees.oid <> trees.root
