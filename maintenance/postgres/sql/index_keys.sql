-- The columns of btree indexes with their statistics, in the order of the key. A column of the
-- table has its statistics under the table's name, an expression under the index's.
SELECT
    i.indexrelid::bigint AS oid,
    k.position::int AS position,
    a.attlen::int AS length_bytes,
    CASE a.attalign WHEN 'd' THEN 8 WHEN 'i' THEN 4 WHEN 's' THEN 2 ELSE 1 END AS alignment_bytes,
    k.number = 0 AS is_expression,
    s.avg_width::int AS mean_bytes,
    s.null_frac::float8 AS null_ratio,
    s.n_distinct::float8 AS distinct_values,
    s.most_common_freqs::float8[] AS common_ratios
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_class AS t ON t.oid = i.indrelid
CROSS JOIN unnest(i.indkey) WITH ORDINALITY AS k (number, position)
JOIN pg_attribute AS a ON a.attrelid = i.indexrelid AND a.attnum = k.position
LEFT JOIN pg_attribute AS ta ON ta.attrelid = i.indrelid AND ta.attnum = k.number AND k.number > 0
LEFT JOIN pg_stats AS s
    ON s.schemaname = n.nspname
    AND s.tablename = CASE WHEN k.number = 0 THEN c.relname ELSE t.relname END
    AND s.attname = CASE WHEN k.number = 0 THEN a.attname ELSE ta.attname END
    AND NOT s.inherited
WHERE i.indexrelid = ANY(%(oids)s::oid[])
ORDER BY i.indexrelid, k.position
