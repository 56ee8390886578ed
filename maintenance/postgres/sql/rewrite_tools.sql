-- Extensions that rewrite a table without locking it for long, where they are installed.
SELECT e.extname::text AS name FROM pg_extension AS e WHERE e.extname IN ('pg_repack', 'pg_squeeze')
