-- Who owns the tables of this database, without the system's.
SELECT DISTINCT
    pg_get_userbyid(c.relowner)::text AS owner,
    r.rolsuper AS is_superuser
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_roles AS r ON r.oid = c.relowner
WHERE c.relkind IN ('r', 'm')
    AND c.relpersistence <> 't'
    AND n.nspname <> 'information_schema'
    AND n.nspname !~ '^pg_'
ORDER BY owner
