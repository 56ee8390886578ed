-- One index by name: what a rebuild has to keep, and what it changes. A rebuilt index has a new oid.
-- pg_get_indexdef and pg_relation_size would wait for a table that somebody else has locked.
SELECT
    c.oid::bigint AS oid,
    pg_relation_size(c.oid) AS size_bytes,
    pg_stat_get_numscans(c.oid) AS scans,
    i.indisvalid AND i.indisready AND i.indislive AS is_usable,
    jsonb_build_object(
        'definition', pg_get_indexdef(c.oid),
        'comment', obj_description(c.oid, 'pg_class'),
        'owner', pg_get_userbyid(c.relowner),
        'tablespace', (SELECT s.spcname FROM pg_tablespace AS s WHERE s.oid = c.reltablespace),
        'primary key', i.indisprimary,
        'replica identity', i.indisreplident,
        'clustered', i.indisclustered,
        'parent', (SELECT h.inhparent::bigint FROM pg_inherits AS h WHERE h.inhrelid = c.oid),
        'constraints', (
            SELECT jsonb_agg(
                jsonb_build_array(k.conname, k.contype, k.condeferrable, k.condeferred)
                ORDER BY k.contype, k.conname
            )
            FROM pg_constraint AS k
            WHERE k.conindid = c.oid
        ),
        'column statistics', (
            SELECT jsonb_agg(
                jsonb_build_array(a.attname, coalesce(a.attstattarget, -1), a.attoptions)
                ORDER BY a.attnum
            )
            FROM pg_attribute AS a
            WHERE a.attrelid = c.oid
        )
    ) AS kept
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE i.indrelid = %(table_oid)s::bigint::oid
    AND n.nspname = %(schema)s
    AND c.relname = %(name)s
    AND NOT EXISTS (
        SELECT
        FROM pg_locks AS l
        WHERE l.locktype = 'relation'
            AND l.mode = 'AccessExclusiveLock'
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
            AND l.relation IN (i.indrelid, i.indexrelid)
    )
