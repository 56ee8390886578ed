-- The indexes of these tables, all of which a rewrite builds anew.
SELECT i.indexrelid::bigint AS oid, i.indrelid::bigint AS table_oid
FROM pg_index AS i
WHERE i.indrelid = ANY (%(table_oids)s::bigint[]::oid[])
