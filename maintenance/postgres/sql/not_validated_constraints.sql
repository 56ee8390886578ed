-- Constraints that some row may break: added NOT VALID, or (18 and later) NOT ENFORCED.
-- Copies on partitions and heirs are left out; validating the original validates them.
SELECT
    c.oid::bigint AS oid,
    c.contype::text AS kind,
    n.nspname AS schema,
    coalesce(t.relname, d.typname) AS owner_name,
    c.conname AS name,
    quote_ident(n.nspname) || '.' || quote_ident(coalesce(t.relname, d.typname))
        || '.' || quote_ident(c.conname) AS qualified_name,
    quote_ident(n.nspname) || '.' || quote_ident(coalesce(t.relname, d.typname)) AS qualified_owner,
    (
        SELECT quote_ident(n.nspname) || '.' || quote_ident(t.relname) || '.' || CASE
            WHEN count(*) = 1 THEN min(quote_ident(a.attname))
            ELSE '(' || string_agg(quote_ident(a.attname), ', ' ORDER BY k.place) || ')'
        END
        FROM unnest(c.conkey) WITH ORDINALITY AS k(attnum, place)
        JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.attnum
    ) AS qualified_columns,
    quote_ident(fn.nspname) || '.' || quote_ident(ft.relname) AS qualified_referenced,
    t.relkind IS NULL AS is_on_domain,
    c.conenforced AS is_enforced,  -- if >= 18
    true AS is_enforced,  -- if < 18
    c.conperiod AS is_temporal,  -- if >= 18
    false AS is_temporal,  -- if < 18
    c.confmatchtype = 'f' AS is_match_full,
    coalesce(t.relkind = 'p', false) AS is_partitioned,
    ARRAY(
        SELECT a.attname::text
        FROM unnest(c.conkey) WITH ORDINALITY AS k(attnum, place)
        JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = k.attnum
        ORDER BY k.place
    ) AS columns,
    fn.nspname AS referenced_schema,
    ft.relname AS referenced_table,
    coalesce(ft.relkind = 'p', false) AS is_referenced_partitioned,
    ARRAY(
        SELECT a.attname::text
        FROM unnest(c.confkey) WITH ORDINALITY AS k(attnum, place)
        JOIN pg_attribute AS a ON a.attrelid = c.confrelid AND a.attnum = k.attnum
        ORDER BY k.place
    ) AS referenced_columns,
    -- The operators that the server itself compares with: "=" of a type from an extension is in
    -- no schema that is searched here.
    ARRAY(
        SELECT ARRAY[n2.nspname::text, o.oprname::text]
        FROM unnest(c.conpfeqop) WITH ORDINALITY AS k(oid, place)
        JOIN pg_operator AS o ON o.oid = k.oid
        JOIN pg_namespace AS n2 ON n2.oid = o.oprnamespace
        ORDER BY k.place
    ) AS operators,
    coalesce(row_security_active(t.oid) OR row_security_active(ft.oid), false)
        AS is_row_security_active
FROM pg_constraint AS c
JOIN pg_namespace AS n ON n.oid = c.connamespace
LEFT JOIN pg_class AS t ON t.oid = c.conrelid
LEFT JOIN pg_type AS d ON d.oid = c.contypid
LEFT JOIN pg_class AS ft ON ft.oid = c.confrelid
LEFT JOIN pg_namespace AS fn ON fn.oid = ft.relnamespace
WHERE NOT c.convalidated
    AND c.contype IN ('c', 'f', 'n')
    AND c.conparentid = 0
    AND (c.conislocal OR c.coninhcount = 0)
    AND coalesce(t.relpersistence, 'p') <> 't'
    AND n.nspname <> ALL (%(exclude_schemas)s)
ORDER BY qualified_name
