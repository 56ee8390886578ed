"""PgBouncer before the server: its sizes, who waits, and what its mode does to sessions."""
