-- Limits how long each following statement of this session waits for a lock.
SELECT set_config('lock_timeout', %(milliseconds)s::int::text, false)
