"""The queries, one per file; read by :func:`maintenance.postgres.connection.load_sql`."""
