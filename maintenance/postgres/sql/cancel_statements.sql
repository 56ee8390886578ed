-- Cancels what the sessions of one attempt of a run have at work for so long already.
SELECT pg_cancel_backend(a.pid) AS was_cancelled
FROM pg_stat_activity AS a
WHERE a.pid <> pg_backend_pid()
    AND a.usesysid = (SELECT oid FROM pg_roles WHERE rolname = current_user)
    AND a.state = 'active'
    AND starts_with(a.application_name, 'maintenance:')
    AND right(a.application_name, length(%(name_end)s)) = %(name_end)s
    AND a.query_start <= clock_timestamp() - make_interval(secs => %(seconds)s)
