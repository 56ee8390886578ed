-- Functions of the measuring extensions that a role may not call, as GRANT names them.
SELECT
    e.extname::text AS extension,
    p.oid::regprocedure::text AS signature
FROM pg_extension AS e
JOIN pg_depend AS d
    ON d.refclassid = 'pg_extension'::regclass AND d.refobjid = e.oid
    AND d.classid = 'pg_proc'::regclass AND d.deptype = 'e'
JOIN pg_proc AS p ON p.oid = d.objid
WHERE (
        (e.extname = 'amcheck' AND p.proname IN ('bt_index_check', 'verify_heapam'))
        OR (e.extname = 'pgstattuple' AND p.proname IN ('pgstattuple', 'pgstatindex'))
    )
    AND NOT has_function_privilege(p.oid, 'EXECUTE')
ORDER BY extension, signature
