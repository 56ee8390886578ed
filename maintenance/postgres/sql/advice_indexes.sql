-- The usable indexes of some tables with their keys. pg_get_indexdef and pg_get_expr lock the
-- table, so that one which somebody has meanwhile locked exclusively is left out.
SELECT
    i.indrelid::bigint AS table_oid,
    am.amname AS method,
    coalesce(pg_get_expr(i.indpred, i.indrelid, true), '') AS predicate,
    (
        SELECT array_agg(pg_get_indexdef(i.indexrelid, k.position, true) ORDER BY k.position)
        FROM generate_series(1, i.indnkeyatts::int) AS k (position)
    ) AS keys,
    (
        SELECT array_agg(o.bits::int ORDER BY o.position)
        FROM unnest(i.indoption) WITH ORDINALITY AS o (bits, position)
    ) AS options
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_am AS am ON am.oid = c.relam
WHERE i.indrelid = ANY(%(oids)s::bigint[]::oid[])
    AND i.indisvalid
    AND i.indisready
    AND i.indislive
    AND NOT EXISTS (
        SELECT
        FROM pg_locks AS l
        WHERE l.locktype = 'relation'
            AND l.mode = 'AccessExclusiveLock'
            AND l.relation IN (i.indrelid, i.indexrelid)
    )
ORDER BY i.indexrelid
