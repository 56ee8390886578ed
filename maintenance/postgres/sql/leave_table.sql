-- Gives the advisory lock of a table back.
SELECT pg_advisory_unlock(%(class)s::int, (%(oid)s::bigint - 2147483648)::int) AS was_ours
