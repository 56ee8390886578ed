-- WAL files that wait for the archiver, and since when the first of them does.
SELECT
    count(*) AS waiting_files,
    extract(epoch FROM min(f.modification))::float8 AS waiting_since
FROM pg_ls_archive_statusdir() AS f
WHERE f.name LIKE '%.ready'
