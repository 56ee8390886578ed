-- How many collations and databases have a version recorded, so that a change would be noticed.
SELECT
    (SELECT count(*) FROM pg_collation AS c WHERE c.collversion IS NOT NULL) AS tracked_collations,
    (SELECT d.datcollversion FROM pg_database AS d WHERE d.datname = current_database())  -- if >= 15
    NULL::text  -- if < 15
    AS database_version
