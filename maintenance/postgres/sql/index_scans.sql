-- Scans of every user index on this server alone.
SELECT i.indexrelid::bigint AS oid, pg_stat_get_numscans(i.indexrelid) AS scans
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind = 'i' AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
