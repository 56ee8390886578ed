-- Every sequence, once for each column that takes its numbers from it. The value of one whose lock
-- somebody holds or awaits is left out: reading it would wait.
WITH locked AS MATERIALIZED (
    SELECT l.relation
    FROM pg_locks AS l
    WHERE l.locktype = 'relation'
        AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        AND l.mode IN (
            'ShareLock', 'ShareRowExclusiveLock', 'ExclusiveLock', 'AccessExclusiveLock'
        )
),
uses AS (
    SELECT d.objid AS sequence_oid, d.refobjid AS table_oid, d.refobjsubid AS attnum
    FROM pg_sequence AS s
    JOIN pg_depend AS d ON d.objid = s.seqrelid
    WHERE d.classid = 'pg_class'::regclass
        AND d.refclassid = 'pg_class'::regclass
        AND d.refobjsubid > 0
        AND d.deptype IN ('a', 'i')
    UNION
    SELECT d.refobjid, f.adrelid, f.adnum
    FROM pg_depend AS d
    JOIN pg_attrdef AS f ON f.oid = d.objid
    JOIN pg_class AS t ON t.oid = f.adrelid AND NOT t.relispartition
    WHERE d.classid = 'pg_attrdef'::regclass
        AND d.refclassid = 'pg_class'::regclass
        AND d.deptype = 'n'
),
leading_columns AS (
    SELECT
        u.table_oid,
        u.attnum,
        bool_or(m.amname = 'btree') AS is_indexed,
        bool_or(i.indisunique AND i.indnkeyatts = 1) AS is_unique
    FROM (SELECT DISTINCT table_oid, attnum FROM uses) AS u
    JOIN pg_index AS i ON i.indrelid = u.table_oid AND i.indkey[0] = u.attnum
    JOIN pg_class AS c ON c.oid = i.indexrelid
    JOIN pg_am AS m ON m.oid = c.relam
    WHERE i.indisvalid AND i.indpred IS NULL
    GROUP BY u.table_oid, u.attnum
)
SELECT
    s.seqrelid::bigint AS oid,
    n.nspname AS schema,
    c.relname AS name,
    quote_ident(n.nspname) || '.' || quote_ident(c.relname) AS qualified_name,
    s.seqmin AS minimum,
    s.seqmax AS maximum,
    s.seqincrement AS increment,
    s.seqcycle AS cycles,
    format_type(s.seqtypid, NULL) AS type_name,
    s.seqrelid IN (SELECT relation FROM locked) AS is_locked,
    has_sequence_privilege(s.seqrelid, 'USAGE, SELECT') AS may_read_value,
    has_sequence_privilege(s.seqrelid, 'SELECT') AND has_schema_privilege(n.oid, 'USAGE')
        AS may_select,
    CASE
        WHEN has_sequence_privilege(s.seqrelid, 'USAGE, SELECT')
            AND s.seqrelid NOT IN (SELECT relation FROM locked)
            AND NOT (c.relpersistence = 'u' AND pg_is_in_recovery())
        THEN pg_sequence_last_value(s.seqrelid)
    END AS last_value,
    tn.nspname AS table_schema,
    t.relname AS table_name,
    a.attname AS column_name,
    quote_ident(tn.nspname) || '.' || quote_ident(t.relname) || '.' || quote_ident(a.attname)
        AS qualified_column,
    format_type(b.oid, NULL) AS column_type,
    coalesce(x.is_indexed, false) AS is_indexed,
    coalesce(x.is_unique, false) AS is_unique,
    has_column_privilege(t.oid, a.attnum, 'SELECT') AND has_schema_privilege(tn.oid, 'USAGE')
        AS may_select_column,
    row_security_active(t.oid) AS is_row_security_active
FROM pg_sequence AS s
JOIN pg_class AS c ON c.oid = s.seqrelid AND c.relpersistence <> 't'
JOIN pg_namespace AS n ON n.oid = c.relnamespace
LEFT JOIN uses AS u ON u.sequence_oid = s.seqrelid
LEFT JOIN pg_class AS t ON t.oid = u.table_oid
LEFT JOIN pg_namespace AS tn ON tn.oid = t.relnamespace
LEFT JOIN pg_attribute AS a ON a.attrelid = t.oid AND a.attnum = u.attnum
LEFT JOIN leading_columns AS x ON x.table_oid = u.table_oid AND x.attnum = u.attnum
LEFT JOIN pg_type AS y ON y.oid = a.atttypid
LEFT JOIN pg_type AS b ON b.oid = coalesce(nullif(y.typbasetype, 0), y.oid)
WHERE n.nspname <> ALL (%(exclude_schemas)s)
ORDER BY s.seqrelid, t.oid, a.attnum
