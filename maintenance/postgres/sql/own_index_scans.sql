-- Scans of the site's indexes by this session that the server's statistics do not have yet: those of
-- its transaction, and of earlier ones since it last reported.
SELECT coalesce(sum(pg_stat_get_xact_numscans(i.indexrelid)), 0)::bigint AS scans
FROM pg_index AS i
WHERE i.indexrelid >= 16384
