-- The columns of one table in their order, as a tuple stores them.
SELECT
    a.attname AS name,
    a.attnum::int AS number,
    a.attlen::int AS length_bytes,
    CASE a.attalign WHEN 'd' THEN 8 WHEN 'i' THEN 4 WHEN 's' THEN 2 ELSE 1 END AS alignment_bytes
FROM pg_attribute AS a
WHERE a.attrelid = %(oid)s::oid AND a.attnum > 0 AND NOT a.attisdropped
ORDER BY a.attnum
