"""Redis and Valkey: streams kept at their length, memory watched.

``connection``, ``server`` and ``packed`` are the way to a server, and are used by ``caching`` and
``queues`` as well; the other modules are subjects.
"""
