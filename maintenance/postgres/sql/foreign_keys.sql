-- Foreign keys with their referencing columns: deleting a referenced row looks these up.
SELECT
    k.oid::bigint AS oid,
    nullif(k.conparentid, 0)::bigint AS parent_oid,
    k.conname AS name,
    k.conrelid::bigint AS table_oid,
    k.confrelid::bigint AS referenced_oid,
    k.conkey::int4[] AS columns,
    c.names AS column_names,
    c.quoted AS quoted_columns
FROM pg_constraint AS k
CROSS JOIN LATERAL (
    SELECT
        array_agg(a.attname::text ORDER BY u.position) AS names,
        array_agg(quote_ident(a.attname) ORDER BY u.position) AS quoted
    FROM unnest(k.conkey) WITH ORDINALITY AS u (attnum, position)
    JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = u.attnum
) AS c
WHERE k.contype = 'f'
    AND k.conenforced  -- if >= 18
ORDER BY k.conrelid, k.conname
