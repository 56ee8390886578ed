-- Whether scans are counted.
SELECT
    -- Our own session is not counted: what holds for others is what a RESET would bring.
    (SELECT t.reset_val::boolean FROM pg_settings AS t WHERE t.name = 'track_counts') AS counts,
    pg_is_in_recovery() AS is_standby
