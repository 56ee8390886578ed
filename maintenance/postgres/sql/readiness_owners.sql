-- Whose tables a role may not vacuum: by owner, with the number of tables.
SELECT
    pg_get_userbyid(c.relowner)::text AS owner,
    bool_or(r.rolsuper) AS is_superuser,
    count(*)::int AS tables,
    min(format('%I.%I', n.nspname, c.relname)) AS example
FROM pg_class AS c
JOIN pg_namespace AS n ON n.oid = c.relnamespace
JOIN pg_roles AS r ON r.oid = c.relowner
WHERE c.relkind IN ('r', 'm')
    AND c.relpersistence <> 't'
    AND n.nspname <> 'information_schema'
    AND n.nspname !~ '^pg_'
    AND NOT pg_has_role(c.relowner, 'USAGE')
    AND NOT has_table_privilege(c.oid, 'MAINTAIN') -- if >= 17
GROUP BY c.relowner
ORDER BY tables DESC, owner
