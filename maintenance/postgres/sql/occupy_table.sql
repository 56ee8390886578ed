-- Takes the advisory lock of a table, and says whether autovacuum is at work on it. Run before every
-- table of a run: the functions are what the views pg_locks and pg_stat_activity read, and planning
-- the views takes longer than all the rest.
SELECT
    pg_try_advisory_lock(%(class)s::int, (%(oid)s::bigint - 2147483648)::int) AS is_ours,
    (
        SELECT l.pid
        FROM pg_lock_status() AS l
        WHERE l.locktype = 'relation'
            AND l.relation = %(oid)s::bigint::oid
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND EXISTS (
                SELECT FROM pg_stat_get_activity(l.pid) AS a
                WHERE a.backend_type = 'autovacuum worker'
            )
        LIMIT 1
    ) AS autovacuum_pid
