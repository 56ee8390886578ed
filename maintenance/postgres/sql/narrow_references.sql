-- Foreign key columns whose integer type is narrower than the one they refer to. What follows
-- describes the referenced column; the partitions of a table share its constraint.
SELECT
    quote_ident(cn.nspname) || '.' || quote_ident(c.relname) || '.' || quote_ident(a.attname)
        AS referencing_column,
    format_type(a.atttypid, NULL) AS referencing_type,
    n.nspname AS schema,
    t.relname AS "table",
    b.attname AS name,
    quote_ident(n.nspname) || '.' || quote_ident(t.relname) || '.' || quote_ident(b.attname)
        AS qualified_name,
    format_type(b.atttypid, NULL) AS type_name,
    EXISTS (
        SELECT FROM pg_index AS i
        JOIN pg_class AS ic ON ic.oid = i.indexrelid
        JOIN pg_am AS m ON m.oid = ic.relam AND m.amname = 'btree'
        WHERE i.indrelid = t.oid AND i.indkey[0] = b.attnum AND i.indisvalid AND i.indpred IS NULL
    ) AS is_indexed,
    has_column_privilege(t.oid, b.attnum, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE')
        AS may_select,
    row_security_active(t.oid) AS is_row_security_active,
    EXISTS (
        SELECT FROM pg_locks AS l
        WHERE l.locktype = 'relation' AND l.relation = t.oid AND l.mode = 'AccessExclusiveLock'
    ) AS is_locked
FROM pg_constraint AS k
CROSS JOIN unnest(k.conkey, k.confkey) AS p (referencing, referenced)
JOIN pg_attribute AS a ON a.attrelid = k.conrelid AND a.attnum = p.referencing
JOIN pg_attribute AS b ON b.attrelid = k.confrelid AND b.attnum = p.referenced
JOIN pg_class AS c ON c.oid = k.conrelid
JOIN pg_namespace AS cn ON cn.oid = c.relnamespace
JOIN pg_class AS t ON t.oid = k.confrelid
JOIN pg_namespace AS n ON n.oid = t.relnamespace
WHERE k.contype = 'f' AND k.conparentid = 0
    AND a.atttypid IN ('pg_catalog.int2'::regtype, 'pg_catalog.int4'::regtype)
    AND b.atttypid IN ('pg_catalog.int4'::regtype, 'pg_catalog.int8'::regtype)
    AND a.attlen < b.attlen
    AND cn.nspname <> ALL (%(exclude_schemas)s) AND n.nspname <> ALL (%(exclude_schemas)s)
ORDER BY 1, 6
