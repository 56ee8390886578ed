-- Unique indexes whose promise is in doubt: built and found invalid, or over text whose collation
-- has changed below them (PostgreSQL documentation, ALTER COLLATION, "Notes"). The expressions are
-- the server's own text, which takes a lock to print: locked tables are left out.
SELECT
    i.indexrelid::bigint AS oid,
    n.nspname AS schema,
    t.relname AS table_name,
    quote_ident(n.nspname) || '.' || quote_ident(t.relname) AS qualified_table,
    quote_ident(n.nspname) || '.' || quote_ident(t.relname) || '.' || quote_ident(c.relname)
        AS qualified_name,
    c.reltuples::float8 AS tuples,
    i.indisvalid AS is_valid,
    ARRAY(
        SELECT pg_get_indexdef(i.indexrelid, k.position::int, false)
            || CASE
                WHEN l.oid IS NULL THEN ''
                ELSE ' COLLATE ' || quote_ident(ln.nspname) || '.' || quote_ident(l.collname)
            END
        FROM generate_series(1, i.indnkeyatts) AS k (position)
        LEFT JOIN pg_collation AS l ON l.oid = i.indcollation[k.position - 1]
        LEFT JOIN pg_namespace AS ln ON ln.oid = l.collnamespace
        ORDER BY k.position
    ) AS keys,
    pg_get_expr(i.indpred, i.indrelid) AS predicate,
    i.indnullsnotdistinct AS nulls_are_equal,  -- if >= 15
    false AS nulls_are_equal,  -- if < 15
    EXISTS (
        SELECT FROM pg_opclass AS o WHERE o.oid = ANY (i.indclass::oid[]) AND NOT o.opcdefault
    ) AS has_own_equality,
    row_security_active(t.oid) AS is_row_security_active
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_class AS t ON t.oid = i.indrelid
JOIN pg_namespace AS n ON n.oid = t.relnamespace
WHERE i.indisunique
    AND c.relkind = 'i'
    AND t.relpersistence <> 't'
    AND n.nspname NOT IN ('pg_catalog', 'information_schema', 'pg_toast')
    AND n.nspname <> ALL (%(exclude_schemas)s)
    AND (
        NOT i.indisvalid
        OR EXISTS (
            SELECT
            FROM pg_collation AS l
            WHERE l.oid = ANY (i.indcollation::oid[])
                AND l.collversion <> pg_collation_actual_version(l.oid)
        )
        OR EXISTS (  -- if >= 15
            SELECT  -- if >= 15
            FROM pg_database AS d  -- if >= 15
            WHERE d.datname = current_database()  -- if >= 15
                AND d.datcollversion <> pg_database_collation_actual_version(d.oid)  -- if >= 15
                AND 100 = ANY (i.indcollation::oid[])  -- if >= 15
        )  -- if >= 15
    )
    AND NOT EXISTS (
        SELECT
        FROM pg_locks AS k
        WHERE k.locktype = 'relation' AND k.mode = 'AccessExclusiveLock'
            AND k.relation IN (i.indexrelid, i.indrelid)
            AND k.database = (SELECT d.oid FROM pg_database AS d WHERE d.datname = current_database())
    )
ORDER BY c.reltuples, qualified_name
