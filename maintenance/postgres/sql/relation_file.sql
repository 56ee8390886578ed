SELECT pg_relation_filenode(%(oid)s::bigint::oid)::bigint AS file_number
