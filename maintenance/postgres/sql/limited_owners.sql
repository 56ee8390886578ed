-- Roles and databases with a connection limit of their own. A superuser's is not enforced; 0 means
-- that nobody shall connect, -1 no limit, -2 a database that is being dropped.
SELECT
    'role' AS kind,
    r.rolname::text AS name,
    quote_ident(r.rolname) AS quoted_name,
    r.rolconnlimit AS connection_limit
FROM pg_roles AS r
WHERE r.rolconnlimit > 0 AND r.rolcanlogin AND NOT r.rolsuper
UNION ALL
SELECT 'database', d.datname::text, quote_ident(d.datname), d.datconnlimit
FROM pg_database AS d
WHERE d.datconnlimit > 0 AND d.datallowconn
ORDER BY 1, 2
