-- The columns of btree indexes in the order of the key, with what it takes to read them from the
-- table and, for those that must not be read, their statistics. A column of the table has its
-- statistics under the table's name, an expression under the index's.
-- No lock is waited for: pg_get_indexdef and pg_get_expr are left out where it is held.
WITH locked AS MATERIALIZED (
    SELECT l.relation
    FROM pg_locks AS l
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT
    i.indexrelid::bigint AS oid,
    k.position::int AS position,
    a.attlen::int AS length_bytes,
    CASE a.attalign WHEN 'd' THEN 8 WHEN 'i' THEN 4 WHEN 's' THEN 2 ELSE 1 END AS alignment_bytes,
    a.attstorage::text AS storage,
    k.number = 0 AS is_expression,
    CASE WHEN i.indrelid NOT IN (SELECT relation FROM locked)
        THEN pg_get_indexdef(i.indexrelid, k.position::int, true)
    END AS expression,
    CASE WHEN i.indrelid NOT IN (SELECT relation FROM locked)
        THEN pg_get_expr(i.indpred, i.indrelid)
    END AS predicate,
    a.atttypid IN ('text'::regtype, 'varchar'::regtype, 'bpchar'::regtype) AS is_text,
    CASE WHEN i.indrelid NOT IN (SELECT relation FROM locked)
        THEN pg_relation_size(i.indrelid) / 8192
    END AS table_pages,
    -- Built-in functions are not recorded as dependencies: what is, somebody wrote.
    NOT EXISTS (
        SELECT
        FROM pg_depend AS d
        WHERE d.classid = 'pg_class'::regclass AND d.objid = i.indexrelid
            AND d.refclassid IN ('pg_proc'::regclass, 'pg_operator'::regclass)
    )
    AND coalesce(ta.attgenerated <> 'v', true) AS is_built_in,
    (
        SELECT o.oprname
        FROM pg_opclass AS oc
        JOIN pg_amop AS ao
            ON ao.amopfamily = oc.opcfamily
            AND ao.amoplefttype = oc.opcintype AND ao.amoprighttype = oc.opcintype
            AND ao.amopstrategy = 3
        JOIN pg_operator AS o ON o.oid = ao.amopopr
        WHERE oc.oid = i.indclass[k.position - 1] AND o.oprnamespace = 'pg_catalog'::regnamespace
    ) AS equality,
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
-- OFFSET 0 has each column looked up: joined, the view is read as a whole for every column.
LEFT JOIN LATERAL (
    SELECT p.avg_width, p.null_frac, p.n_distinct, p.most_common_freqs
    FROM pg_stats AS p
    WHERE p.schemaname = n.nspname
        AND p.tablename = CASE WHEN k.number = 0 THEN c.relname ELSE t.relname END
        AND p.attname = CASE WHEN k.number = 0 THEN a.attname ELSE ta.attname END
        AND NOT p.inherited
    OFFSET 0
) AS s ON true
WHERE i.indexrelid = ANY(%(oids)s::oid[])
ORDER BY i.indexrelid, k.position
