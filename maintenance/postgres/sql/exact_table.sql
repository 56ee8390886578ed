-- Reads the whole relation. Rows that a query sees, and what they take without padding.
SELECT tuple_count, tuple_len AS tuple_bytes
FROM {schema}.pgstattuple(%(oid)s::oid::regclass)
