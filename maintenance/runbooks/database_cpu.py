"""High database CPU: the guide's "Database CPU > 80%"."""

from maintenance.runbooks.model import Cause, Runbook, Source

DATABASE_CPU = Runbook(
    name="database-cpu",
    title="High database CPU",
    symptom="The database server uses more than 80 % of the machine's processors.",
    symptom_codes=frozenset({"database-cpu-high"}),
    symptom_sources=(Source.DATABASE_CPU,),
    causes=(
        Cause(
            "A few statements take most of the time",
            frozenset({"slow-query", "query-slower", "query-load"}),
            (Source.QUERIES,),
            "Take the statement with the largest share of the time, and see its plan and its lines"
            " of code with: python manage.py profile_queries --min-duration 100",
        ),
        Cause(
            "An index is missing, so that tables are read whole",
            frozenset({"index-advice", "sequential-scans", "missing-foreign-key-index"}),
            (Source.MISSING_INDEXES,),
            "Create the proposed index CONCURRENTLY, then measure the statement again.",
        ),
        Cause(
            "Code asks for its rows one at a time (N+1)",
            frozenset({"n-plus-one", "repeated-query", "deferred-field", "count-for-existence"}),
            (Source.PERFORMANCE_LOG,),
            "Add the select_related or prefetch_related that the finding names.",
        ),
        Cause(
            "Plans are bad for want of statistics, or read dead rows",
            frozenset({"statistics-missing", "vacuum-overdue", "vacuum-due", "autovacuum-off"}),
            (Source.VACUUM, Source.VACUUM_HEALTH),
            "Analyze and vacuum what is due: python manage.py maintenance run vacuum_analyze",
        ),
        Cause(
            "Too many sessions work at once",
            frozenset(
                {
                    "connections-active",
                    "connections-active-peak",
                    "connections-used",
                    "connections-peak",
                }
            ),
            (Source.CONNECTIONS,),
            "Put PgBouncer between application and server, so that as many work at once as there"
            " are processors for; more connections make it worse.",
        ),
        Cause(
            "Sessions queue for locks and then come all at once",
            frozenset({"blocking", "long-running", "idle-in-transaction"}),
            (Source.BLOCKING, Source.LONG_RUNNING, Source.IDLE_IN_TRANSACTION),
            "End the session at the head of the queue if its owner agrees; the finding has the"
            " command.",
        ),
        Cause(
            "Sorts and hashes do not fit into work_mem",
            frozenset({"temporary-files"}),
            (Source.TEMPORARY_FILES,),
            "Raise work_mem for the role or the statement that sorts, not for everybody.",
        ),
        Cause(
            "Checkpoints come too often and write whole pages",
            frozenset({"checkpoints-requested", "checkpoints-by-command"}),
            (Source.CHECKPOINTS,),
            "Raise max_wal_size, so that checkpoints come by time and not by size.",
        ),
        Cause(
            "The data does not fit into memory",
            frozenset({"database-cache-hit-ratio"}),
            (Source.CACHE_HIT,),
            "Give shared_buffers more of the machine's memory; where the load is reading, a replica"
            " can take it.",
        ),
    ),
    otherwise=(
        "Nothing that was measured explains it. If it is busy now, see which of its processes are:"
        " top -c -u postgres; a load that is simply there needs more processors or a replica that"
        " reads."
    ),
)
