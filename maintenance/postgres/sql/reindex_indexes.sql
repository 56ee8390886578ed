-- What decides whether an index may be rebuilt: some by their oids, and those that somebody named.
-- Catalogs only: no lock on any table is taken or waited for.
SELECT
    c.oid::bigint AS oid,
    i.indrelid::bigint AS table_oid,
    n.nspname AS schema,
    c.relname AS name,
    quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS statement_name,
    quote_ident(n.nspname) || '.' || quote_ident(t.relname) AS table_name,
    quote_ident(n.nspname) || '.' || quote_ident(t.relname) || '.' || quote_ident(c.relname)
        AS qualified_name,
    m.amname AS method,
    c.relpages * current_setting('block_size')::bigint AS catalog_size_bytes,
    n.nspname IN ('pg_catalog', 'information_schema') AS is_catalog,
    n.nspname = 'pg_toast' AS is_toast,
    c.relpersistence = 't' AS is_temporary,
    c.relkind = 'I' AS is_partitioned,
    i.indisexclusion AS is_exclusion,
    i.indisvalid AND i.indisready AND i.indislive AS is_usable,
    i.indexprs IS NOT NULL AS has_expressions,
    i.indpred IS NOT NULL AS is_partial,
    -- REINDEX INDEX asks for the ownership of the index, from 17 on for MAINTAIN on its table.
    (
        pg_has_role(c.relowner, 'USAGE')
        OR has_table_privilege(t.oid, 'MAINTAIN')  -- if >= 17
    ) AND has_schema_privilege(n.oid, 'USAGE') AS may_rebuild
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_class AS t ON t.oid = i.indrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_am AS m ON m.oid = c.relam
WHERE c.oid = ANY(%(oids)s::bigint[]::oid[])
    OR c.relname::text = ANY(%(names)s::text[])
    OR n.nspname || '.' || c.relname = ANY(%(names)s::text[])
    OR quote_ident(n.nspname) || '.' || quote_ident(c.relname) = ANY(%(names)s::text[])
    OR quote_ident(n.nspname) || '.' || quote_ident(t.relname) || '.' || quote_ident(c.relname)
        = ANY(%(names)s::text[])
ORDER BY n.nspname, t.relname, c.relname
