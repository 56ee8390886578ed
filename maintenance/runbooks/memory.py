"""Memory leaks: the guide's "Growing memory usage over time"."""

from maintenance.runbooks.model import Cause, Runbook, Source

MEMORY = Runbook(
    name="memory",
    title="Memory that grows",
    symptom="Processes of Gunicorn or Celery hold more memory from hour to hour.",
    symptom_codes=frozenset({"process-memory-growing", "machine-memory-low"}),
    symptom_sources=(Source.PROCESSES,),
    causes=(
        Cause(
            "Nothing replaces a worker that has grown",
            frozenset({"process-never-replaced"}),
            (Source.PROCESSES,),
            "Set the limit that the finding names: max_requests for Gunicorn,"
            " worker_max_memory_per_child for Celery.",
        ),
        Cause(
            "Code holds all rows of a large result at once",
            frozenset({"large-result", "heavy-fields"}),
            (Source.PERFORMANCE_LOG,),
            "Use iterator() at the named line, or only() and defer() for wide rows.",
        ),
        Cause(
            "Redis on this machine is what grows",
            frozenset(
                {
                    "redis-growth",
                    "redis-memory-high",
                    "redis-memory-unlimited",
                    "redis-client-memory",
                }
            ),
            (Source.REDIS_MEMORY,),
            "Walk its own runbook: python manage.py maintenance diagnose redis-memory",
            explained_by="redis-memory",
        ),
        Cause(
            "The database has many sessions, each with memory of its own",
            frozenset(
                {
                    "connections-active",
                    "connections-active-peak",
                    "connections-used",
                    "connections-peak",
                }
            ),
            (Source.CONNECTIONS,),
            "Put PgBouncer in between, or lower work_mem and max_connections.",
        ),
        Cause(
            "A transaction that nobody ends keeps memory of its session",
            frozenset({"idle-in-transaction", "long-running"}),
            (Source.IDLE_IN_TRANSACTION, Source.LONG_RUNNING),
            "End it if its owner agrees; the finding has the command.",
        ),
    ),
    otherwise=(
        "Nothing that was measured explains it. Attach a memory profiler to a worker that has grown"
        " (memray attach PID, or tracemalloc in the code), and compare two snapshots an hour apart."
    ),
)
