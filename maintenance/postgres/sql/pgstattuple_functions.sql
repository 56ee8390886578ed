-- The functions of the extension pgstattuple that this role may call, and where they are.
SELECT n.nspname AS schema, p.proname AS name, has_function_privilege(p.oid, 'EXECUTE')
    AND has_schema_privilege(n.oid, 'USAGE') AS executable
FROM pg_extension AS e
JOIN pg_depend AS d
    ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid AND d.deptype = 'e'
    AND d.classid = 'pg_proc'::regclass
JOIN pg_proc AS p ON p.oid = d.objid
JOIN pg_namespace AS n ON n.oid = p.pronamespace
WHERE e.extname = 'pgstattuple'
    AND p.proname IN ('pgstattuple', 'pgstatindex')
    AND p.proargtypes = ARRAY['regclass'::regtype]::oidvector
