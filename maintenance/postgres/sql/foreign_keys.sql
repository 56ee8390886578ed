-- Foreign keys with their referencing columns: deleting a referenced row looks these up.
SELECT
    k.conrelid::bigint AS table_oid,
    k.conname AS name,
    k.conkey::int4[] AS columns
FROM pg_constraint AS k
WHERE k.contype = 'f'
ORDER BY k.conrelid, k.conname
