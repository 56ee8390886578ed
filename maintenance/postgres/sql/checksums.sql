-- Whether pages carry checksums, and where one did not match. The row without a name stands for
-- what all databases share.
SELECT
    current_setting('data_checksums') AS checksums,
    current_setting('ignore_checksum_failure', true) AS ignore_failure,
    coalesce(d.datname::text, 'shared catalogs') AS name,
    d.checksum_failures AS failures,
    extract(epoch FROM d.checksum_last_failure)::float8 AS last_failure_at
FROM pg_stat_database AS d
ORDER BY d.checksum_failures DESC NULLS LAST, d.datname
