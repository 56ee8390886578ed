-- The statistics targets that some columns have now, and how often their tables were analyzed.
SELECT
    a.attrelid::bigint AS oid,
    a.attnum::int AS number,
    nullif(a.attstattarget, -1)::int AS own_target,
    pg_stat_get_analyze_count(a.attrelid) + pg_stat_get_autoanalyze_count(a.attrelid) AS analyzes
FROM pg_attribute AS a
WHERE a.attrelid = ANY (%(oids)s::bigint[]::oid[]) AND a.attnum > 0 AND NOT a.attisdropped
