-- A table with its indexes and its TOAST table; NULL if it is gone.
SELECT pg_total_relation_size(%(oid)s::bigint::oid) AS size_bytes
