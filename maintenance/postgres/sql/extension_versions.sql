-- Installed extensions whose version is not the one that the server's files offer by default.
SELECT
    e.extname::text AS name,
    quote_ident(e.extname) AS quoted_name,
    e.extversion AS installed_version,
    a.default_version,
    coalesce(forth.path IS NOT NULL, false) AS can_update,
    coalesce(back.path IS NOT NULL, false) AS can_go_back,
    pg_has_role(e.extowner, 'USAGE') AS may_update
FROM pg_extension AS e
LEFT JOIN pg_available_extensions AS a ON a.name = e.extname
LEFT JOIN LATERAL pg_extension_update_paths(a.name) AS forth
    ON forth.source = e.extversion AND forth.target = a.default_version
LEFT JOIN LATERAL pg_extension_update_paths(a.name) AS back
    ON back.source = a.default_version AND back.target = e.extversion
WHERE a.default_version IS DISTINCT FROM e.extversion
ORDER BY e.extname
