-- The tables that these names mean to a session with the role's own search_path (the value before
-- ours was set), with their columns, and the columns that a foreign key of one column stands on.
WITH path AS (
    SELECT
        CASE btrim(p.entry, ' "') WHEN '$user' THEN current_user::text ELSE btrim(p.entry, ' "') END
            AS schema,
        p.place
    FROM pg_settings AS s
    CROSS JOIN string_to_table(s.reset_val, ',') WITH ORDINALITY AS p (entry, place)
    WHERE s.name = 'search_path'
)
SELECT DISTINCT ON (c.relname)
    c.oid::bigint AS oid,
    n.nspname AS schema,
    c.relname AS name,
    quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS qualified_name,
    ARRAY(
        SELECT ARRAY[a.attname::text, format_type(a.atttypid, NULL)]
        FROM pg_attribute AS a
        WHERE a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
        ORDER BY a.attnum
    ) AS columns,
    ARRAY(
        SELECT a.attname::text
        FROM pg_constraint AS k
        JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = k.conkey[1]
        WHERE k.conrelid = c.oid AND k.contype = 'f' AND cardinality(k.conkey) = 1
        ORDER BY 1
    ) AS referencing_columns,
    row_security_active(c.oid) AS is_row_security_active
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN path ON path.schema = n.nspname
WHERE c.relname = ANY (%(names)s)
    AND c.relkind IN ('r', 'p')
    AND n.nspname <> ALL (%(exclude_schemas)s)
ORDER BY c.relname, path.place
