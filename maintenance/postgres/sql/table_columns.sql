-- All columns of one table in their order, as a rewritten tuple stores them. A dropped column and a
-- virtual generated one (18) take no room but a place in the null bitmap.
SELECT
    a.attname AS name,
    a.attlen::int AS length_bytes,
    CASE a.attalign WHEN 'd' THEN 8 WHEN 'i' THEN 4 WHEN 's' THEN 2 ELSE 1 END AS alignment_bytes,
    a.attstorage::text AS storage,
    NOT a.attisdropped AND a.attgenerated <> 'v' AS stored
FROM pg_attribute AS a
WHERE a.attrelid = %(oid)s::oid AND a.attnum > 0
ORDER BY a.attnum
