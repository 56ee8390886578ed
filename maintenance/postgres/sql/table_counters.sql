-- Every table that VACUUM or ANALYZE can process, with what autovacuum looks at.
-- Reads catalogs and counters only: no lock on any table is taken or waited for.
SELECT
    c.oid::bigint AS oid,
    n.nspname AS schema,
    c.relname AS name,
    quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS qualified_name,
    c.relkind::text AS kind,
    c.relisshared AS is_shared,
    c.reltoastrelid::bigint AS toast_oid,
    i.inhparent::bigint AS parent_oid,
    c.relpages::bigint AS pages,
    c.reltuples::float8 AS tuples,
    c.relallvisible::bigint AS all_visible_pages,
    c.relallfrozen::bigint AS all_frozen_pages,  -- if >= 18
    0::bigint AS all_frozen_pages,  -- if < 18
    coalesce(c.reloptions, '{}') AS storage_parameters,
    CASE WHEN c.relfrozenxid <> '0' THEN age(c.relfrozenxid) END AS xid_age,
    CASE WHEN c.relminmxid <> '0' THEN mxid_age(c.relminmxid) END AS multixact_age,
    pg_stat_get_tuples_inserted(c.oid) AS inserted_rows,
    pg_stat_get_tuples_updated(c.oid) AS updated_rows,
    pg_stat_get_tuples_deleted(c.oid) AS deleted_rows,
    pg_stat_get_live_tuples(c.oid) AS live_rows,
    pg_stat_get_dead_tuples(c.oid) AS dead_rows,
    pg_stat_get_ins_since_vacuum(c.oid) AS inserted_since_vacuum,
    pg_stat_get_mod_since_analyze(c.oid) AS modified_since_analyze,
    pg_stat_get_vacuum_count(c.oid) AS vacuum_count,
    pg_stat_get_analyze_count(c.oid) AS analyze_count,
    extract(epoch FROM greatest(
        pg_stat_get_last_vacuum_time(c.oid), pg_stat_get_last_autovacuum_time(c.oid)
    ))::float8 AS last_vacuum_at,
    extract(epoch FROM pg_stat_get_last_analyze_time(c.oid))::float8 AS last_manual_analyze_at,
    extract(epoch FROM pg_stat_get_last_autoanalyze_time(c.oid))::float8 AS last_autoanalyze_at,
    -- A crash zeroes the counters but not pg_statistic: look there before calling it unanalyzed.
    -- pg_stats shows nothing of a table that may not be read: nothing is claimed of it. Nor is it of
    -- TOAST tables and catalogs, for which autovacuum and the plan ask for no statistics: for one of
    -- them alone the whole view would be read.
    CASE
        WHEN c.relkind <> 't'
            AND n.nspname NOT IN ('pg_catalog', 'information_schema')
            AND pg_stat_get_last_analyze_time(c.oid) IS NULL
            AND pg_stat_get_last_autoanalyze_time(c.oid) IS NULL
            AND has_table_privilege(c.oid, 'SELECT')
            AND NOT row_security_active(c.oid)
        THEN EXISTS (
            SELECT FROM pg_stats AS s WHERE s.schemaname = n.nspname AND s.tablename = c.relname
        )
        ELSE true
    END AS has_statistics,
    (
        pg_has_role(c.relowner, 'USAGE')
        OR (d.owned AND NOT c.relisshared)
        OR has_table_privilege(c.oid, 'MAINTAIN')  -- if >= 17
    ) AS may_maintain
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN pg_inherits AS i ON i.inhrelid = c.oid AND c.relispartition
CROSS JOIN (
    SELECT pg_has_role(datdba, 'USAGE') AS owned FROM pg_database WHERE datname = current_database()
) AS d
WHERE c.relkind IN ('r', 'm', 't', 'p')
    AND c.relpersistence <> 't'
    AND (%(oids)s::bigint[] IS NULL OR c.oid = ANY (%(oids)s::bigint[]::oid[]))
