"""Memory won back without losing data: compact encodings, and keys that rules call left over."""
