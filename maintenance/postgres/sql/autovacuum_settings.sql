-- What autovacuum's decisions follow from, before storage parameters of single tables.
SELECT name, setting
FROM pg_settings
WHERE name = 'track_counts' OR name ^@ 'autovacuum'
