"""The memory of a Redis or Valkey server: what fills it, what that costs, and where it leads."""
