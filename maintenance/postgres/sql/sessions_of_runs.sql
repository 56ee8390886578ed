-- Sessions of ours that carry the mark of a run. Of other roles' sessions the server hides the name,
-- unless ours may read all statistics.
SELECT
    a.pid,
    a.application_name AS name
FROM pg_stat_activity AS a
WHERE a.pid <> pg_backend_pid()
    AND starts_with(a.application_name, 'maintenance:')
