-- WAL files that wait for the archiver.
SELECT count(*) AS waiting_files FROM pg_ls_archive_statusdir() AS f WHERE f.name LIKE '%.ready'
