-- Prepares a session for a rebuild: no limit ends its waits, which would leave a half-made index
-- behind; and beside a busy site it works with one processor. Returns the limit there was.
WITH usual AS MATERIALIZED (
    SELECT s.setting::int AS milliseconds FROM pg_settings AS s WHERE s.name = 'lock_timeout'
)
SELECT
    u.milliseconds AS usual_ms,
    set_config('lock_timeout', '0', false) AS lock_timeout,
    set_config(
        'max_parallel_maintenance_workers',
        CASE
            WHEN %(alone)s THEN '0'
            ELSE (
                SELECT s.reset_val
                FROM pg_settings AS s
                WHERE s.name = 'max_parallel_maintenance_workers'
            )
        END,
        false
    ) AS workers
FROM usual AS u
