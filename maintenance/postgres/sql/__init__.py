"""The queries, one per file; read by :func:`maintenance.postgres.sql_files.load_sql`."""
