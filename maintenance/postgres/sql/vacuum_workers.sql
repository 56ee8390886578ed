-- The tables of this database that a VACUUM is at work on, and how many autovacuum workers run in
-- the whole server. What others do is hidden without pg_read_all_stats.
SELECT
    pg_has_role('pg_read_all_stats', 'USAGE') AS shows_everything,
    (
        SELECT count(*) FROM pg_stat_activity AS a WHERE a.backend_type = 'autovacuum worker'
    ) AS busy_workers,
    ARRAY(
        SELECT p.relid::bigint
        FROM pg_stat_progress_vacuum AS p
        WHERE p.datname = current_database() AND p.relid IS NOT NULL
    ) AS vacuumed_oids
