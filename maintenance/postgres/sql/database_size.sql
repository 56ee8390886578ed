-- The size of the whole database, of which no lock is taken: its folder is read.
SELECT pg_database_size(current_database()) AS database_bytes
