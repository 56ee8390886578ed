-- Ends one session, if it is still the one of that name, and waits for its end at most five seconds:
-- until then it holds its locks.
SELECT pg_terminate_backend(a.pid, 5000) AS has_ended
FROM pg_stat_activity AS a
WHERE a.pid = %(pid)s
    AND a.application_name = %(name)s
