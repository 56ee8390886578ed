"""The server around the database: checkpoints, replication, temporary files, versions, checksums."""
