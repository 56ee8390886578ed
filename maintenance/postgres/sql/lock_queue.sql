-- Who holds or wants the locks that somebody waits for. Reads shared memory only.
-- A prepared transaction has no process. All its locks carry the same virtual transaction, and the
-- one on its own transaction identifier tells which it is.
WITH locks AS MATERIALIZED (
    SELECT
        ROW(
            l.locktype, l.database, l.relation, l.page, l.tuple, l.virtualxid, l.transactionid,
            l.classid, l.objid, l.objsubid
        )::text AS tag,
        l.pid,
        l.transactionid,
        l.virtualtransaction,
        l.mode,
        l.granted
    FROM pg_locks AS l
),
prepared AS (
    SELECT l.virtualtransaction, p.gid
    FROM locks AS l
    JOIN pg_prepared_xacts AS p ON p.transaction = l.transactionid
    WHERE l.pid IS NULL AND l.granted
)
SELECT l.tag, l.pid, p.gid, l.mode, l.granted
FROM locks AS l
LEFT JOIN prepared AS p ON l.pid IS NULL AND p.virtualtransaction = l.virtualtransaction
WHERE l.tag IN (SELECT w.tag FROM locks AS w WHERE NOT w.granted)
ORDER BY l.tag, l.pid, l.mode
