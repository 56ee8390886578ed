-- The oldest VACUUM, ANALYZE or scan that a table or index of this database remembers. A reset of the
-- whole database, or a crash, forgets them all; that of one table forgets its own, but moves the
-- database's stats_reset just the same. Shared catalogs are left out: a database's reset spares them.
SELECT extract(epoch FROM min(e.happened_at))::float8 AS remembered_at
FROM pg_class AS c
CROSS JOIN LATERAL (
    SELECT least(
        pg_stat_get_lastscan(c.oid),  -- if >= 16
        pg_stat_get_last_vacuum_time(c.oid),
        pg_stat_get_last_autovacuum_time(c.oid),
        pg_stat_get_last_analyze_time(c.oid),
        pg_stat_get_last_autoanalyze_time(c.oid)
    ) AS happened_at
) AS e
WHERE c.relkind IN ('r', 'm', 't', 'i') AND NOT c.relisshared
