-- Autovacuum workers on one table. Waiting for their lock would make the server cancel them.
SELECT a.pid
FROM pg_locks AS l
JOIN pg_stat_activity AS a ON a.pid = l.pid AND a.backend_type = 'autovacuum worker'
WHERE l.locktype = 'relation'
    AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
    AND l.relation = %(oid)s::oid
LIMIT 1
