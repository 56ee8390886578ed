-- Transactions that a REINDEX or DROP INDEX CONCURRENTLY on one table has to wait for: sessions with a
-- snapshot in this database (of these a REINDEX alone), and whoever holds a lock on the table. Without
-- pg_read_all_stats neither snapshot nor age of others is shown: their locks are.
WITH holders AS MATERIALIZED (
    SELECT l.pid, l.virtualtransaction
    FROM pg_locks AS l
    WHERE l.locktype = 'relation'
        AND l.granted
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.relation = %(table_oid)s::bigint::oid
)
SELECT
    'session' AS kind,
    a.pid::text AS name,
    a.usename::text AS user_name,
    a.application_name,
    a.state,
    extract(epoch FROM clock_timestamp() - a.xact_start)::float8 AS transaction_seconds,
    a.pid IN (SELECT h.pid FROM holders AS h) AS holds_lock
FROM pg_stat_activity AS a
WHERE a.pid <> pg_backend_pid()
    AND a.datname = current_database()
    AND (a.backend_xmin IS NOT NULL OR a.pid IN (SELECT h.pid FROM holders AS h))
    AND NOT EXISTS (SELECT FROM pg_stat_progress_vacuum AS v WHERE v.pid = a.pid)
UNION ALL
SELECT
    'prepared transaction', p.gid, p.owner::text, '', 'prepared',
    extract(epoch FROM clock_timestamp() - p.prepared)::float8, true
FROM pg_prepared_xacts AS p
WHERE p.database = current_database()
    AND EXISTS (
        SELECT
        FROM holders AS h
        JOIN pg_locks AS x ON x.virtualtransaction = h.virtualtransaction
        WHERE h.pid IS NULL
            AND x.locktype = 'transactionid'
            AND x.pid IS NULL
            AND x.transactionid = p.transaction
    )
ORDER BY transaction_seconds DESC NULLS LAST
