"""How every subject talks to Redis and Valkey: connections, packed batches, a server's own facts.

Shared plumbing of ``redis``, ``caching`` and ``queues``, which do not know one another.
"""
