-- Primary keys of one smallint or integer column that refer to nothing: where no sequence feeds
-- them, the application or a trigger numbers the rows. The fullest tables first.
SELECT
    n.nspname AS schema,
    t.relname AS "table",
    a.attname AS name,
    quote_ident(n.nspname) || '.' || quote_ident(t.relname) || '.' || quote_ident(a.attname)
        AS qualified_name,
    format_type(a.atttypid, NULL) AS type_name,
    true AS is_indexed,
    has_column_privilege(t.oid, a.attnum, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE')
        AS may_select,
    row_security_active(t.oid) AS is_row_security_active,
    EXISTS (
        SELECT FROM pg_locks AS l
        WHERE l.locktype = 'relation' AND l.relation = t.oid AND l.mode = 'AccessExclusiveLock'
    ) AS is_locked
FROM pg_index AS i
JOIN pg_class AS t ON t.oid = i.indrelid
JOIN pg_namespace AS n ON n.oid = t.relnamespace
JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = i.indkey[0]
WHERE i.indisprimary AND i.indisvalid AND i.indnkeyatts = 1
    AND a.atttypid IN ('pg_catalog.int2'::regtype, 'pg_catalog.int4'::regtype)
    AND t.relkind IN ('r', 'p') AND NOT t.relispartition AND t.relpersistence <> 't'
    AND n.nspname <> 'pg_catalog' AND n.nspname <> ALL (%(exclude_schemas)s)
    AND NOT EXISTS (
        SELECT FROM pg_constraint AS k
        WHERE k.conrelid = t.oid AND k.contype = 'f' AND a.attnum = ANY (k.conkey)
    )
ORDER BY t.reltuples DESC, t.oid
