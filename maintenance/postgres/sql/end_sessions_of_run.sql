-- Ends what is left of a run: sessions of this role in this database whose name ends in the run's id.
-- It waits for their end, at most five seconds each: until then they hold their locks.
SELECT a.pid, pg_terminate_backend(a.pid, 5000) AS was_ended
FROM pg_stat_activity AS a
WHERE a.pid <> pg_backend_pid()
    AND a.usesysid = (SELECT oid FROM pg_roles WHERE rolname = current_user)
    AND a.datname = current_database()
    AND starts_with(a.application_name, 'maintenance:')
    AND right(a.application_name, length(%(name_end)s)) = %(name_end)s
