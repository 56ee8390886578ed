-- Who holds the advisory lock of a table.
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
