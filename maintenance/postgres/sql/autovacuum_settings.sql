-- What autovacuum's decisions follow from, before storage parameters of single tables.
-- Our own session is not counted: what holds for others is what a RESET would bring.
SELECT name, reset_val AS setting
FROM pg_settings
WHERE name = 'track_counts' OR name ^@ 'autovacuum'
