-- What VACUUM can never freeze beyond, apart from open transactions: what logical slots keep of the
-- catalogs, and temporary tables, which only their own session can vacuum. From 16 on a slot that was
-- invalidated keeps its catalog_xmin, and nothing by it.
SELECT 'replication slot' AS kind, s.slot_name::text AS name, age(s.catalog_xmin) AS xid_age
FROM pg_replication_slots AS s
WHERE s.catalog_xmin IS NOT NULL
    AND s.wal_status IS DISTINCT FROM 'lost'  -- if >= 16
UNION ALL
SELECT 'temporary table', quote_ident(n.nspname) || '.' || quote_ident(c.relname), age(c.relfrozenxid)
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relpersistence = 't' AND c.relkind IN ('r', 't') AND c.relfrozenxid <> '0'
ORDER BY xid_age DESC
LIMIT 20
