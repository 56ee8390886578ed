-- Takes the advisory lock of a table, and says who else is at work on it.
SELECT
    pg_try_advisory_lock(%(class)s::int, (%(oid)s::bigint - 2147483648)::int) AS is_ours,
    (
        SELECT l.pid
        FROM pg_locks AS l
        WHERE l.locktype = 'advisory'
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND l.classid = %(class)s::bigint::oid
            AND l.objid = ((%(oid)s::bigint + 2147483648) %% 4294967296)::oid
            AND l.objsubid = 2
            AND l.granted
            AND l.pid <> pg_backend_pid()
        LIMIT 1
    ) AS holder_pid,
    (
        SELECT l.pid
        FROM pg_locks AS l
        JOIN pg_stat_activity AS a ON a.pid = l.pid AND a.backend_type = 'autovacuum worker'
        WHERE l.locktype = 'relation'
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND l.relation = %(oid)s::bigint::oid
        LIMIT 1
    ) AS autovacuum_pid
