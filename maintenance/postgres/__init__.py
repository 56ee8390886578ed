"""Looking after a PostgreSQL database: one file per subject, one query per file in ``sql/``."""
