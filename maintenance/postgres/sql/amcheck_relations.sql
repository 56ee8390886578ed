-- What amcheck can look at: valid btrees, and tables; those of the catalogs and of TOAST, too.
-- Unlogged relations have no main fork on a standby, temporary ones belong to one session, and a
-- relation that somebody locks exclusively is not waited for.
SELECT
    c.oid::bigint AS oid,
    n.nspname AS schema,
    c.relname AS name,
    CASE
        WHEN i.indexrelid IS NULL
        THEN quote_ident(n.nspname) || '.' || quote_ident(c.relname)
        ELSE quote_ident(n.nspname) || '.' || quote_ident(t.relname) || '.' || quote_ident(c.relname)
    END AS qualified_name,
    i.indexrelid IS NOT NULL AS is_index,
    coalesce(i.indisunique, false) AS is_unique,
    coalesce(i.indisprimary OR k.oid IS NOT NULL, false) AS backs_constraint
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_am AS am ON am.oid = c.relam
LEFT JOIN pg_index AS i ON i.indexrelid = c.oid
LEFT JOIN pg_class AS t ON t.oid = i.indrelid
LEFT JOIN pg_constraint AS k ON k.conindid = c.oid AND k.contype IN ('p', 'u', 'x')
WHERE (
        (c.relkind = 'i' AND am.amname = 'btree' AND i.indisvalid AND i.indisready)
        OR (c.relkind IN ('r', 'm', 't') AND am.amname = 'heap')
    )
    AND (c.relpersistence = 'p' OR (c.relpersistence = 'u' AND NOT pg_is_in_recovery()))
    AND n.nspname <> ALL (%(exclude_schemas)s)
    AND NOT EXISTS (
        SELECT
        FROM pg_locks AS l
        WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
            AND l.relation IN (c.oid, i.indrelid)
            AND l.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
    )
ORDER BY c.oid
