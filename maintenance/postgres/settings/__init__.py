"""Settings of the server: what would change something, and why."""
