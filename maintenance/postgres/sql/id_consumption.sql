-- How far the server has come in handing out transaction and multixact IDs. The multixacts are
-- those of the last checkpoint; asking for more is reserved to superusers.
SELECT
    s.system_identifier::text AS system_identifier,
    pg_snapshot_xmax(pg_current_snapshot())::text::bigint AS next_xid,
    c.next_multixact_id::text::bigint AS next_multixact,
    has_function_privilege('pg_ls_dir(text)', 'EXECUTE') AS may_list_members,
    extract(epoch FROM clock_timestamp())::float8 AS taken_at
FROM pg_control_checkpoint() AS c, pg_control_system() AS s
