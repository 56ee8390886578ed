-- What was counted of some tables since the counters began, and the settings that they have.
SELECT
    c.oid::bigint AS oid,
    n.nspname AS schema,
    c.relname AS name,
    quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS qualified_name,
    coalesce(c.reloptions, '{}') AS storage_parameters,
    pg_has_role(c.relowner, 'USAGE') AS may_alter,
    pg_stat_get_tuples_updated(c.oid) + pg_stat_get_tuples_deleted(c.oid) AS rewritten_rows,
    pg_stat_get_tuples_inserted(c.oid) AS inserted_rows,
    pg_stat_get_vacuum_count(c.oid) + pg_stat_get_autovacuum_count(c.oid) AS vacuums,
    pg_stat_get_analyze_count(c.oid) + pg_stat_get_autoanalyze_count(c.oid) AS analyzes,
    pg_stat_get_total_autovacuum_time(c.oid) / 1000 AS vacuum_seconds  -- if >= 18
    NULL::float8 AS vacuum_seconds  -- if < 18
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.oid = ANY (%(oids)s::bigint[]::oid[])
