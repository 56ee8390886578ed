-- Segment files that hold the members of multixacts.
SELECT count(*) AS segments
FROM pg_ls_dir('pg_multixact/members') AS f (name)
WHERE f.name ~ '^[0-9A-F]+$'
