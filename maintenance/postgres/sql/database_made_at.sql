-- When this database was made: its first file is never written again. NULL where that is not there.
SELECT extract(epoch FROM f.modification)::float8 AS made_at
FROM pg_stat_file(
    regexp_replace(pg_relation_filepath('pg_class'), '[^/]+$', 'PG_VERSION'), true
) AS f
