-- What VACUUM's pace and its protection against wraparound follow from.
SELECT name, setting
FROM pg_settings
WHERE name ^@ 'autovacuum' OR name ^@ 'vacuum_' OR name = 'block_size'
