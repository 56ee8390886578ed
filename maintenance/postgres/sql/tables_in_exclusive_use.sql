-- Tables that nobody can read without waiting: somebody holds or awaits an AccessExclusiveLock on
-- them, on one of their indexes (to plan a query is to open them all), or on a partition or heir.
WITH RECURSIVE taken AS (
    SELECT coalesce(i.indrelid, l.relation) AS oid
    FROM pg_locks AS l
    LEFT JOIN pg_index AS i ON i.indexrelid = l.relation
    WHERE l.locktype = 'relation'
        AND l.mode = 'AccessExclusiveLock'
        AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
    UNION
    SELECT h.inhparent FROM pg_inherits AS h JOIN taken ON h.inhrelid = taken.oid
)
SELECT n.nspname AS schema, c.relname AS name
FROM taken
JOIN pg_class AS c ON c.oid = taken.oid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
