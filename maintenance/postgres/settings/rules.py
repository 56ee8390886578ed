"""The guide's settings as a model of memory, processors, storage and connections: pure rules.

Where the guide contradicts itself, this is what was chosen:

- Its small, medium and large tables are one rule at 1, 4 and 8 GB of memory: a quarter of it for
  shared_buffers, three quarters for effective_cache_size, 1/256 for work_mem, 1/16 for
  maintenance_work_mem. The rule goes on below, between and above. The percentages beside the
  essential settings ("25% of RAM", "50-75% of RAM") say the same; the numbers beside them
  (effective_cache_size = 1GB, work_mem = 16MB at 256MB of shared_buffers) fit no machine, and are
  left out.
- ``max_wal_size = 1GB`` is PostgreSQL's default. It is raised only where counted checkpoints came
  because of it (see the analysis of checkpoints); min_wal_size is left alone.
- ``autovacuum_naptime = 10s`` is a round through all databases. With more of them each gets at
  least a second, or the launcher would do nothing but start workers.
- ``effective_io_concurrency = 200`` is for PostgreSQL 14 to 17. From 18 on, reads are asynchronous
  and combined, and its default of 16 is made for that.

What somebody raised or lowered on purpose is not turned back, unless it is a danger; what is good
enough is not touched. Sources without a name are sections of the guide.
"""

from collections.abc import Callable, Iterator

from maintenance.core.wording import bytes_in_words, counted, percent
from maintenance.postgres.settings.model import GB, MB, Machine, Recommendation, Server, size_text

ESSENTIAL = 'guide, "Essential Settings"'
SIZES = 'guide, "For Small / Medium / Large Instances"'
MEMORY = 'guide, "Essential Settings" and "For Small / Medium / Large Instances"'
AUTOVACUUM = 'guide, "Auto-vacuum Tuning"'
STATEMENTS = 'guide, "Enable pg_stat_statements"'

#: Below this share of what the rule gives, a value is raised; above, the difference is not felt.
GOOD_ENOUGH_RATIO = 0.6

#: The guide's tables give work_mem 40 % of the memory if each of 100 connections uses it once.
WORK_MEM_BUDGET_RATIO = 0.4
MINIMUM_WORK_MEM_BYTES = 4 * MB  # PostgreSQL's own, and the guide's for the smallest machine

#: Up to 1 GB: what each autovacuum worker may take, and until 16 all that VACUUM could use.
MAXIMUM_MAINTENANCE_WORK_MEM_BYTES = GB

#: Slower than any web request and most jobs; a transaction that idles longer was forgotten.
IDLE_IN_TRANSACTION = "1h"

#: The guide's round through the databases.
NAPTIME_SECONDS = 10
LONGEST_NAPTIME_SECONDS = 60

Rule = Callable[[Server], Recommendation | None]


def rounded(size_bytes: float) -> int:
    """Round down to whole megabytes, and past a gigabyte to 64 of them."""
    step = 64 * MB if size_bytes >= GB else MB
    return int(size_bytes // step * step)


def shared_buffers_for(machine: Machine) -> int | None:
    """Return a quarter of the memory (guide: "25% of RAM for dedicated server")."""
    return None if machine.usable_bytes is None else rounded(machine.usable_bytes / 4)


def work_mem_for(machine: Machine, connections: float | None) -> int | None:
    """Return 1/256 of the memory, less where many connections could use it at once."""
    memory = machine.usable_bytes
    if memory is None:
        return None
    share = memory * WORK_MEM_BUDGET_RATIO / max(1.0, connections or 1.0)
    return max(MINIMUM_WORK_MEM_BYTES, rounded(min(memory / 256, share)))


def _of_memory(server: Server) -> str:
    memory = f"{bytes_in_words(server.machine.usable_bytes or 0)} of memory"
    return memory if server.machine.dedicated else f"{memory} (half of the machine's, shared)"


def _raised(
    server: Server, name: str, wanted: int | None, reason: str, source: str
) -> Recommendation | None:
    now = server.number(name)
    if now is None or wanted is None or now >= wanted * GOOD_ENOUGH_RATIO:
        return None
    return Recommendation(name, size_text(wanted), reason, source)


def _shared_buffers(server: Server) -> Recommendation | None:
    reason = f"a quarter of {_of_memory(server)} keeps what is read most at hand"
    return _raised(
        server,
        "shared_buffers",
        shared_buffers_for(server.machine),
        reason,
        MEMORY,
    )


def _effective_cache_size(server: Server) -> Recommendation | None:
    setting, memory = server.settings.get("effective_cache_size"), server.machine.usable_bytes
    now = server.number("effective_cache_size")
    if setting is None or memory is None or now is None:
        return None
    wanted = rounded(memory * 3 / 4)
    if now < rounded(memory / 2):  # the guide's range begins there
        reason = (
            f"more of {_of_memory(server)} caches pages than the planner counts on, which makes index"
            " scans look dearer than they are"
        )
    elif now > wanted and setting.is_default:
        reason = (
            f"PostgreSQL's default is more than {_of_memory(server)} can cache, which makes index scans"
            " look cheaper than they are"
        )
    else:
        return None
    return Recommendation("effective_cache_size", size_text(wanted), reason, MEMORY)


def _work_mem(server: Server) -> Recommendation | None:
    connections = server.number("max_connections")
    reason = (
        f"with {_of_memory(server)}, sorts and hashes can be larger before they go to temporary"
        f" files, even if {connections or 0:,.0f} connections do it at once"
    )
    return _raised(server, "work_mem", work_mem_for(server.machine, connections), reason, SIZES)


def _maintenance_work_mem(server: Server) -> Recommendation | None:
    memory = server.machine.usable_bytes
    wanted = None
    if memory is not None:
        wanted = min(MAXIMUM_MAINTENANCE_WORK_MEM_BYTES, rounded(memory / 16))
    reason = "VACUUM passes over the indexes less often, and CREATE INDEX sorts in memory"
    return _raised(server, "maintenance_work_mem", wanted, reason, SIZES)


def _random_page_cost(server: Server) -> Recommendation | None:
    setting = server.settings.get("random_page_cost")
    if server.machine.storage != "ssd" or setting is None or not setting.is_default:
        return None
    return Recommendation(
        "random_page_cost",
        "1.1",
        "4 is for rotating disks: on SSD it turns the planner away from indexes",
        ESSENTIAL,
    )


def _effective_io_concurrency(server: Server) -> Recommendation | None:
    now = server.number("effective_io_concurrency")
    wanted = 16 if server.major >= 18 else 200
    # 0 turns prefetching off where the platform cannot do it.
    if server.machine.storage != "ssd" or now is None or not 0 < now < wanted / 2:
        return None
    return Recommendation(
        "effective_io_concurrency",
        str(wanted),
        "an SSD answers many reads at once",
        ESSENTIAL if server.major < 18 else "PostgreSQL 18 documentation, effective_io_concurrency",
    )


def _wal_buffers(server: Server) -> Recommendation | None:
    setting, now = server.settings.get("wal_buffers"), server.number("wal_buffers")
    # Left to itself it follows shared_buffers up to 16 MB.
    if setting is None or now is None or setting.source in {"default", "override"}:
        return None
    if setting.value == "-1" or now >= 16 * MB * GOOD_ENOUGH_RATIO:
        return None
    return Recommendation(
        "wal_buffers", "16MB", "writers wait less for WAL to be written", ESSENTIAL
    )


def _checkpoint_completion_target(server: Server) -> Recommendation | None:
    now = server.number("checkpoint_completion_target")
    if now is None or now >= 0.9:
        return None
    return Recommendation(
        "checkpoint_completion_target",
        "0.9",
        "a checkpoint that is spread out leaves more of the disk to queries",
        ESSENTIAL,
    )


def _max_wal_size(server: Server) -> Recommendation | None:
    now, wanted = server.number("max_wal_size"), server.load.max_wal_size_bytes
    if now is None or wanted is None or now >= wanted:
        return None
    return Recommendation(
        "max_wal_size",
        size_text(wanted),
        f"{percent(server.load.early_checkpoint_ratio)} of the checkpoints came early because it"
        " was full, and after each the server writes whole pages to the WAL again; the disk must"
        " have room for as much",
        'PostgreSQL documentation, "WAL Configuration"',
    )


def _autovacuum_naptime(server: Server) -> Recommendation | None:
    setting, now = server.settings.get("autovacuum_naptime"), server.number("autovacuum_naptime")
    seconds = min(LONGEST_NAPTIME_SECONDS, max(NAPTIME_SECONDS, server.load.databases))
    if setting is None or now is None or now < 2000 * seconds:
        return None
    return Recommendation(
        "autovacuum_naptime",
        f"{seconds}s",
        f"autovacuum looks at each of {counted(server.load.databases, 'database')} that often",
        AUTOVACUUM,
    )


def _lowered_default(name: str, value: str, reason: str) -> Rule:
    def rule(server: Server) -> Recommendation | None:
        setting = server.settings.get(name)
        if setting is None or setting.is_pending or not setting.is_default:
            return None
        return Recommendation(name, value, reason, AUTOVACUUM)

    return rule


def _autovacuum_max_workers(server: Server) -> Recommendation | None:
    now = server.number("autovacuum_max_workers")
    if now is None or now >= 3:
        return None
    return Recommendation(
        "autovacuum_max_workers", "3", "one large table must not hold up all others", AUTOVACUUM
    )


def _idle_in_transaction(server: Server) -> Recommendation | None:
    if server.number("idle_in_transaction_session_timeout") != 0:
        return None
    return Recommendation(
        "idle_in_transaction_session_timeout",
        IDLE_IN_TRANSACTION,
        "a transaction that somebody forgot keeps its locks, and VACUUM from removing anything,"
        " for as long as its session lives",
        'PostgreSQL documentation, "Client Connection Defaults"',
    )


def _preloaded(server: Server) -> Recommendation | None:
    setting = server.settings.get("shared_preload_libraries")
    if setting is None or setting.is_pending or not server.statements_installed:
        return None
    libraries = [part.strip() for part in setting.value.split(",") if part.strip()]
    if any(library.rpartition("/")[2] == "pg_stat_statements" for library in libraries):
        return None
    return Recommendation(
        "shared_preload_libraries",
        ", ".join([*libraries, "pg_stat_statements"]),
        "without pg_stat_statements nobody knows which statements cost most",
        STATEMENTS,
    )


#: In the order of the guide.
RULES: tuple[Rule, ...] = (
    _shared_buffers,
    _effective_cache_size,
    _work_mem,
    _maintenance_work_mem,
    _random_page_cost,
    _effective_io_concurrency,
    _wal_buffers,
    _checkpoint_completion_target,
    _max_wal_size,
    _autovacuum_max_workers,
    _autovacuum_naptime,
    _lowered_default(
        "autovacuum_vacuum_scale_factor", "0.1", "VACUUM comes at 10 % dead rows instead of 20 %"
    ),
    _lowered_default(
        "autovacuum_analyze_scale_factor",
        "0.05",
        "statistics are renewed when 5 % of the rows have changed instead of 10 %",
    ),
    _idle_in_transaction,
    _preloaded,
)


def recommended(server: Server) -> Iterator[Recommendation]:
    """Yield what would change something, in the order of the guide."""
    for rule in RULES:
        recommendation = rule(server)
        if recommendation is not None:
            yield recommendation
