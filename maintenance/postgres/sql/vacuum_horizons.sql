-- Which transactions are known to have ended before which moment: a VACUUM advances relfrozenxid no
-- further than the oldest transaction that was running then. A table that was rewritten (TRUNCATE,
-- VACUUM FULL) got its relfrozenxid from that, and is left out: its file no longer bears its oid.
SELECT
    age(c.relfrozenxid) AS xid_age,
    extract(epoch FROM v.vacuumed_at)::float8 AS ended_before
FROM pg_class AS c
CROSS JOIN LATERAL (
    SELECT greatest(
        pg_stat_get_last_vacuum_time(c.oid), pg_stat_get_last_autovacuum_time(c.oid)
    ) AS vacuumed_at
) AS v
WHERE c.relkind IN ('r', 'm', 't')
    AND c.relfilenode = c.oid
    AND v.vacuumed_at IS NOT NULL
