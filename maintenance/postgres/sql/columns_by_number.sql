-- The columns of some tables by the numbers that pg_index has them by.
SELECT a.attrelid::bigint AS table_oid, a.attnum::int AS number, a.attname::text AS name
FROM pg_attribute AS a
WHERE a.attrelid = ANY(%(oids)s::bigint[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
