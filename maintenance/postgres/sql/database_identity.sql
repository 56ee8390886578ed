-- Equal on a server and its physical replicas, and on no other.
SELECT
    (SELECT system_identifier FROM pg_control_system())::text AS system_identifier,
    (SELECT oid FROM pg_database WHERE datname = current_database())::bigint AS database_oid
