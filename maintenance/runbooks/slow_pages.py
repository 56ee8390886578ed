"""Slow page loads: the guide's "High response times (> 1s)"."""

from maintenance.runbooks.model import Cause, Runbook, Source

SLOW_PAGES = Runbook(
    name="slow-pages",
    title="Slow page loads",
    symptom="Pages take longer than their targets (p95 500 ms, p99 1000 ms).",
    symptom_codes=frozenset({"response-time-p95", "response-time-p99"}),
    symptom_sources=(Source.ACCESS_LOG,),
    causes=(
        Cause(
            "Code asks for its rows one at a time (N+1)",
            frozenset({"n-plus-one", "repeated-query", "deferred-field", "writes-in-loop"}),
            (Source.PERFORMANCE_LOG,),
            "Add the select_related, prefetch_related or bulk operation that the finding names.",
        ),
        Cause(
            "Single statements are slow",
            frozenset({"slow-query", "query-slower"}),
            (Source.QUERIES,),
            "Take the statement that costs most, and see its plan and its lines of code with:"
            " python manage.py profile_queries --min-duration 100",
        ),
        Cause(
            "An index is missing",
            frozenset({"index-advice", "sequential-scans", "missing-foreign-key-index"}),
            (Source.MISSING_INDEXES,),
            "Create the proposed index CONCURRENTLY, then measure the statement again.",
        ),
        Cause(
            "A few routes are slow, the others are not",
            frozenset({"slow-route", "route-slower"}),
            (Source.ACCESS_LOG,),
            "Begin with the named route: cache its page or its expensive part, and see its queries"
            " in the performance log.",
        ),
        Cause(
            "Requests wait for a lock or for a long transaction",
            frozenset({"blocking", "long-running", "idle-in-transaction"}),
            (Source.BLOCKING, Source.LONG_RUNNING, Source.IDLE_IN_TRANSACTION),
            "End the session at the head of the queue if its owner agrees; the finding has the"
            " command.",
        ),
        Cause(
            "Caches are missed",
            frozenset({"cache-hit-ratio", "cache-hit-ratio-fell", "cache-prefix-hit-ratio"}),
            (Source.CACHE_RATIOS,),
            "Lengthen or warm what the finding names: python manage.py maintenance run warm_caches",
        ),
        Cause(
            "The planner has no statistics, or tables are full of dead rows",
            frozenset({"statistics-missing", "vacuum-overdue", "vacuum-due", "autovacuum-off"}),
            (Source.VACUUM, Source.VACUUM_HEALTH),
            "Analyze and vacuum what is due: python manage.py maintenance run vacuum_analyze",
        ),
        Cause(
            "The database reads from disk",
            frozenset({"database-cache-hit-ratio"}),
            (Source.CACHE_HIT,),
            "Give shared_buffers more of the machine's memory, or the machine more memory.",
        ),
        Cause(
            "The machine has too little memory or processor time",
            frozenset({"machine-memory-low", "machine-load-high"}),
            (Source.PROCESSES,),
            "Find what takes it: python manage.py maintenance diagnose memory",
            explained_by="memory",
        ),
    ),
    otherwise=(
        "Nothing that was measured explains it. Profile requests for an hour"
        " (ENABLE_QUERY_PROFILING = True) and look again; if queries are few and fast, the time is"
        " spent in Python, in templates, or at another service."
    ),
)
