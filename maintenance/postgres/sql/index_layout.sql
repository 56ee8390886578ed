-- What the models need of some indexes: size, entries, fillfactor, and whether a btree may
-- deduplicate (PostgreSQL documentation, "Deduplication": not unique, no INCLUDE columns, operator
-- classes whose equality is byte equality, which only deterministic collations have).
WITH locked AS MATERIALIZED (
    SELECT unnest(ARRAY[l.relation, coalesce(i.indrelid, l.relation)]) AS relation
    FROM pg_locks AS l
    LEFT JOIN pg_index AS i ON i.indexrelid = l.relation
    WHERE l.locktype = 'relation' AND l.mode = 'AccessExclusiveLock'
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
)
SELECT
    c.oid::bigint AS oid,
    tn.nspname AS table_schema,
    t.relname AS table_relname,
    quote_ident(tn.nspname) || '.' || quote_ident(t.relname) AS qualified_table_name,
    i.indrelid::bigint AS table_oid,
    am.amname AS method,
    pg_relation_size(c.oid) / 8192 AS pages,
    c.relfilenode::bigint AS file_node,
    c.reltuples::float8 AS entries,
    t.reltuples::float8 AS table_rows,
    pg_stat_get_live_tuples(t.oid)::float8 AS live_rows,
    i.indpred IS NOT NULL AS partial,
    -- Looking keys up by an index makes it look used, where what we read is counted.
    ARRAY(
        SELECT uc.relname::text
        FROM pg_index AS u
        JOIN pg_class AS uc ON uc.oid = u.indexrelid
        WHERE u.indrelid = i.indrelid
            AND current_setting('track_counts')::boolean
            AND pg_stat_get_numscans(u.indexrelid) = 0
    ) AS unread_indexes,
    coalesce(
        (
            SELECT o.option_value::int
            FROM pg_options_to_table(c.reloptions) AS o
            WHERE o.option_name = 'fillfactor'
        ),
        90
    ) AS fill_percent,
    has_table_privilege(t.oid, 'SELECT') AND has_schema_privilege(tn.oid, 'USAGE') AS readable,
    t.relrowsecurity AND row_security_active(t.oid) AS hidden_by_policy,
    NOT i.indisunique
    AND i.indnkeyatts = i.indnatts
    AND coalesce(
        (
            SELECT o.option_value::bool
            FROM pg_options_to_table(c.reloptions) AS o
            WHERE o.option_name = 'deduplicate_items'
        ),
        true
    )
    AND NOT EXISTS (
        SELECT FROM unnest(i.indclass) AS k (opclass)
        WHERE NOT EXISTS (
            -- Support function 4 of btree is "equalimage".
            SELECT
            FROM pg_opclass AS o
            JOIN pg_amproc AS p
                ON p.amprocfamily = o.opcfamily
                AND p.amproclefttype = o.opcintype
                AND p.amprocnum = 4
            WHERE o.oid = k.opclass
        )
    )
    AND NOT EXISTS (
        SELECT FROM unnest(i.indcollation) AS k (collation_oid)
        JOIN pg_collation AS l ON l.oid = k.collation_oid
        WHERE NOT l.collisdeterministic
    ) AS deduplicates
FROM pg_index AS i
JOIN pg_class AS c ON c.oid = i.indexrelid
JOIN pg_class AS t ON t.oid = i.indrelid
JOIN pg_namespace AS tn ON tn.oid = t.relnamespace
JOIN pg_am AS am ON am.oid = c.relam
WHERE i.indexrelid = ANY(%(oids)s::oid[])
    AND c.oid NOT IN (SELECT relation FROM locked)
    AND t.oid NOT IN (SELECT relation FROM locked)
