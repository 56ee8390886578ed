"""High Redis memory: the guide's "Redis memory > 80% of maxmemory"."""

from maintenance.runbooks.model import Cause, Runbook, Source

REDIS_MEMORY = Runbook(
    name="redis-memory",
    title="High Redis memory",
    symptom="Redis uses more than 80 % of what it may have, or nothing limits it.",
    symptom_codes=frozenset(
        {
            "redis-memory-high",
            "redis-memory-unlimited",
            "redis-maxmemory-too-high",
            "redis-evictions",
        }
    ),
    symptom_sources=(Source.REDIS_MEMORY,),
    causes=(
        Cause(
            "Streams are longer than their limit",
            frozenset({"streams-over-length"}),
            (Source.STREAMS,),
            "Trim them: python manage.py maintenance run trim_streams --dry-run, then without",
        ),
        Cause(
            "Streams belong to people who are gone",
            frozenset({"streams-abandoned", "stream-companions-abandoned"}),
            (Source.ABANDONED_STREAMS,),
            "See what would go: python manage.py maintenance run remove_abandoned_streams --dry-run",
        ),
        Cause(
            "Keys stay for ever, or longer than anybody reads them",
            frozenset({"redis-keys-without-ttl", "redis-keys-unused", "redis-unseen-keys"}),
            (Source.REDIS_MEMORY,),
            "Give the named keys a time to live where they are written.",
        ),
        Cause(
            "Cached values are stale and only take room",
            frozenset({"stale-cache-keys"}),
            (Source.STALE_CACHE,),
            "Drop them: python manage.py maintenance run invalidate_caches",
        ),
        Cause(
            "A few values are very large",
            frozenset({"redis-big-keys"}),
            (Source.REDIS_MEMORY,),
            "Split or shorten the named keys; remove one by UNLINK, never by DEL.",
        ),
        Cause(
            "The policy does not fit what the server is used for",
            frozenset({"redis-policy"}),
            (Source.REDIS_MEMORY,),
            "Set maxmemory-policy as the finding says: a cache may evict, a broker never.",
        ),
        Cause(
            "Values are stored in a wasteful form",
            frozenset({"redis-repack-pending", "redis-encoding-limit", "redis-list-nodes"}),
            (Source.COMPACT_ENCODINGS,),
            "Preview the gain: python manage.py maintenance run reclaim_redis_memory --dry-run",
        ),
        Cause(
            "Memory is taken, but not by values: buffers, fragmentation, expired keys",
            frozenset(
                {
                    "redis-client-buffers",
                    "redis-client-memory",
                    "redis-expired-backlog",
                    "redis-fragmentation",
                }
            ),
            (Source.REDIS_MEMORY,),
            "Follow the finding: it names the buffer, the setting or the backlog.",
        ),
        Cause(
            "The site has grown, and its Redis has not",
            frozenset({"redis-growth"}),
            (Source.REDIS_MEMORY,),
            "Raise maxmemory before the date that the finding foretells.",
        ),
    ),
    otherwise=(
        "Nothing that was measured explains it. See where memory goes by kind of key with:"
        " python manage.py health_check --check redis_activity -v 2; if all of it is wanted, raise"
        " maxmemory."
    ),
)
