"""Settings that put data or the whole server at risk: pure rules."""

from collections.abc import Callable, Iterator

from maintenance.core.findings import Severity
from maintenance.core.wording import bytes_in_words, percent
from maintenance.postgres.settings.model import Recommendation, Server, size_text
from maintenance.postgres.settings.rules import ESSENTIAL, shared_buffers_for, work_mem_for

#: PostgreSQL documentation, shared_buffers: "it is unlikely that an allocation of more than 40% of
#: RAM ... will work better than a smaller amount".
MAXIMUM_SHARED_BUFFERS_RATIO = 0.4

#: Connections that all work at once want a processor each; most wait. Past 25 a processor, they
#: mainly wait for one another.
CONNECTIONS_PER_CPU = 25
USUAL_CONNECTIONS = 100  # the guide's, and PostgreSQL's own

#: Statements that take less are logged only where all are: the log grows with every request.
LOGS_EVERYTHING_MS = 10

Danger = Callable[[Server], Recommendation | None]

_WAL = 'PostgreSQL documentation, "Write Ahead Log"'


def _must_be(
    value: str, name: str, reason: str, source: str, severity: Severity = Severity.CRITICAL
) -> Danger:
    def rule(server: Server) -> Recommendation | None:
        is_on = server.is_on(name)
        if is_on is None or is_on == (value == "on"):
            return None
        return Recommendation(name, value, reason, source, severity)

    return rule


def _shared_buffers(server: Server) -> Recommendation | None:
    now, memory = server.number("shared_buffers"), server.machine.memory_bytes
    wanted = shared_buffers_for(server.machine)
    if now is None or memory is None or wanted is None:
        return None
    if now <= MAXIMUM_SHARED_BUFFERS_RATIO * memory:
        return None
    return Recommendation(
        "shared_buffers",
        size_text(wanted),
        f"it takes {percent(now / memory)} of {bytes_in_words(memory)} of memory, and leaves too"
        " little to sessions and to the operating system's cache",
        "PostgreSQL documentation, shared_buffers",
        Severity.WARNING,
    )


def _work_mem(server: Server) -> Recommendation | None:
    now, connections = server.number("work_mem"), server.number("max_connections")
    memory = server.machine.memory_bytes
    wanted = work_mem_for(server.machine, connections)
    if now is None or connections is None or memory is None or wanted is None:
        return None
    if now * connections <= memory:
        return None
    reason = (
        f"if each of {connections:,.0f} connections sorts once, they use"
        f" {bytes_in_words(now * connections)}, and the machine has {bytes_in_words(memory)}"
    )
    if wanted >= now:
        reason += "; allow fewer connections, with PgBouncer before them"
    return Recommendation(
        "work_mem",
        size_text(wanted) if wanted < now else "",
        reason,
        "PostgreSQL documentation, work_mem",
        Severity.WARNING,
    )


def _max_connections(server: Server) -> Recommendation | None:
    now, cpus = server.number("max_connections"), server.machine.cpu_count
    if now is None or cpus is None:
        return None
    if now <= max(USUAL_CONNECTIONS, CONNECTIONS_PER_CPU * cpus):
        return None
    return Recommendation(
        "max_connections",
        "",
        f"{now:,.0f} connections share {cpus} processors: let PgBouncer keep a small pool, and"
        " queue the others",
        f'{ESSENTIAL}, "PgBouncer Configuration"',
        Severity.INFO,
    )


def _effective_cache_size(server: Server) -> Recommendation | None:
    now, memory = server.number("effective_cache_size"), server.machine.memory_bytes
    if now is None or memory is None or now <= memory:
        return None
    return Recommendation(
        "effective_cache_size",
        size_text((server.machine.usable_bytes or memory) * 3 // 4 // 1024**2 * 1024**2),
        f"the planner counts on more cache than the machine has memory ({bytes_in_words(memory)})",
        ESSENTIAL,
    )


def _password_encryption(server: Server) -> Recommendation | None:
    setting = server.settings.get("password_encryption")
    if setting is None or setting.value != "md5":
        return None
    return Recommendation(
        "password_encryption",
        "scram-sha-256",
        "new passwords are stored so that whoever reads the hash can log in with it; passwords that"
        " exist change with the next ALTER ROLE ... PASSWORD",
        'PostgreSQL documentation, "Password Authentication"',
        Severity.WARNING,
    )


def _logs_everything(server: Server) -> Recommendation | None:
    now = server.number("log_min_duration_statement")
    if now is None or not 0 <= now < LOGS_EVERYTHING_MS:
        return None
    return Recommendation(
        "log_min_duration_statement",
        "1s",
        "nearly every statement is written to the log with its values",
        "PostgreSQL documentation, log_min_duration_statement",
        Severity.WARNING,
    )


DANGERS: tuple[Danger, ...] = (
    _must_be("on", "fsync", "a power failure or a crash of the machine destroys data", _WAL),
    _must_be(
        "on",
        "full_page_writes",
        "a page that a crash leaves half written cannot be restored",
        _WAL,
    ),
    _must_be(
        "off",
        "zero_damaged_pages",
        "damaged pages are emptied instead of reported: their rows are lost",
        'PostgreSQL documentation, "Developer Options"',
    ),
    _must_be(
        "on",
        "track_counts",
        "autovacuum and every report on use are blind without the counts",
        'PostgreSQL documentation, "Cumulative Query and Index Statistics"',
        Severity.WARNING,
    ),
    _must_be(
        "on",
        "autovacuum",
        "dead rows pile up, statistics grow stale, and only the emergency before transaction ids"
        " run out is still prevented",
        'guide, "Auto-vacuum Tuning"',
        Severity.WARNING,
    ),
    _shared_buffers,
    _work_mem,
    _effective_cache_size,
    _max_connections,
    _password_encryption,
    _logs_everything,
)


def dangers(server: Server) -> Iterator[Recommendation]:
    """Yield each danger with the value that ends it."""
    for danger in DANGERS:
        found = danger(server)
        if found is not None:
            yield found
