"""What will run out: caches, connections, numbers, space."""
