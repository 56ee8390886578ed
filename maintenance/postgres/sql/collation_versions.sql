-- Collations that sort by other rules now than when they were recorded, with the indexes in their
-- order. The database's own is tracked from 15 on. The C collation, whose rules do not change, has no
-- version and so never differs; hash indexes and pattern operator classes do not sort by rules.
WITH used AS (
    SELECT DISTINCT k.collation_oid
    FROM pg_index AS i, unnest(i.indcollation::oid[]) AS k (collation_oid)
    WHERE k.collation_oid <> 0
),
differing AS (
    SELECT
        c.oid,
        'collation' AS kind,
        quote_ident(n.nspname) || '.' || quote_ident(c.collname) AS qualified_name,
        c.collversion AS recorded_version,
        v.actual_version,
        pg_has_role(c.collowner, 'USAGE') AS may_refresh
    FROM pg_collation AS c
    JOIN pg_namespace AS n ON n.oid = c.collnamespace
    CROSS JOIN LATERAL (SELECT pg_collation_actual_version(c.oid) AS actual_version) AS v
    WHERE c.collversion IS NOT NULL
        AND c.collprovider <> 'd'
        AND c.collencoding IN (-1, (SELECT encoding FROM pg_database WHERE datname = current_database()))
        AND (c.oid IN (SELECT collation_oid FROM used) OR n.nspname <> 'pg_catalog')
        AND v.actual_version IS DISTINCT FROM c.collversion
    UNION ALL  -- if >= 15
    SELECT  -- if >= 15
        'pg_catalog.default'::regcollation::oid, 'database', quote_ident(d.datname), d.datcollversion,  -- if >= 15
        pg_database_collation_actual_version(d.oid), pg_has_role(d.datdba, 'USAGE')  -- if >= 15
    FROM pg_database AS d  -- if >= 15
    WHERE d.datname = current_database()  -- if >= 15
        AND d.datcollversion IS NOT NULL  -- if >= 15
        AND pg_database_collation_actual_version(d.oid) IS DISTINCT FROM d.datcollversion  -- if >= 15
)
SELECT
    d.kind,
    d.qualified_name,
    d.recorded_version,
    d.actual_version,
    d.may_refresh,
    ARRAY(
        SELECT quote_ident(n.nspname) || '.' || quote_ident(c.relname)
        FROM pg_index AS i
        JOIN pg_class AS c ON c.oid = i.indexrelid AND c.relkind = 'i' AND c.relpersistence <> 't'
        JOIN pg_class AS t ON t.oid = i.indrelid
        JOIN pg_namespace AS n ON n.oid = c.relnamespace
        JOIN pg_am AS m ON m.oid = c.relam AND m.amname <> 'hash'
        WHERE EXISTS (
            SELECT
            FROM unnest(i.indcollation::oid[], i.indclass::oid[]) AS k (collation_oid, class_oid)
            JOIN pg_opclass AS o ON o.oid = k.class_oid
            WHERE k.collation_oid = d.oid
                AND o.opcname NOT IN (
                    'text_pattern_ops', 'varchar_pattern_ops', 'bpchar_pattern_ops'
                )
        )
        ORDER BY t.relpages DESC, n.nspname, c.relname
    ) AS indexes
FROM differing AS d
ORDER BY d.kind DESC, d.qualified_name
