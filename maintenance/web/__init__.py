"""A site's requests: their log, their queries, the files they fetch."""
