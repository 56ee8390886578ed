-- How old the oldest unfrozen row of each database may be.
SELECT
    d.datname::text AS name,
    d.datname = current_database() AS is_here,
    age(d.datfrozenxid) AS xid_age,
    mxid_age(d.datminmxid) AS multixact_age
FROM pg_database AS d
ORDER BY age(d.datfrozenxid) DESC, d.datname
