-- The columns of some tables with their statistics. A boolean's common values say how often it is
-- true; those of other types may hold anybody's data and are not read.
SELECT
    a.attrelid::bigint AS table_oid,
    a.attname AS name,
    quote_ident(a.attname) AS quoted,
    coalesce(b.typname, t.typname) AS type_name,
    coalesce(b.typcategory, t.typcategory)::text AS category,
    s.n_distinct::float8 AS distinct,
    s.null_frac::float8 AS null_ratio,
    s.avg_width::float8 AS mean_bytes,
    CASE
        WHEN t.typname = 'bool' AND s.most_common_vals IS NOT NULL
        THEN coalesce(
            (
                SELECT m.frequency
                FROM unnest(s.most_common_vals::text::text[], s.most_common_freqs)
                    AS m (value, frequency)
                WHERE m.value IN ('t', 'true')
            ),
            0
        )
    END::float8 AS true_ratio
FROM pg_attribute AS a
JOIN pg_class AS c ON c.oid = a.attrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_type AS t ON t.oid = a.atttypid
LEFT JOIN pg_type AS b ON b.oid = t.typbasetype
-- OFFSET 0 has each column looked up, rather than the whole view read.
LEFT JOIN LATERAL (
    SELECT p.n_distinct, p.null_frac, p.avg_width, p.most_common_vals, p.most_common_freqs
    FROM pg_stats AS p
    WHERE p.schemaname = n.nspname
        AND p.tablename = c.relname
        AND p.attname = a.attname
        AND p.inherited = (c.relkind = 'p')
    OFFSET 0
) AS s ON true
WHERE a.attrelid = ANY(%(oids)s::bigint[]::oid[])
    AND a.attnum > 0
    AND NOT a.attisdropped
ORDER BY a.attrelid, a.attnum
