"""What is broken in a database, or will be."""
