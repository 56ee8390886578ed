"""Whether autovacuum has enough workers, and is let work fast enough. Pure.

Sources: PostgreSQL documentation, "Automatic Vacuuming" (the cost limit is shared among all workers)
and "Cost-based Vacuum Delay" (what a page costs).
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import bytes_in_words, counted, seconds_in_words
from maintenance.postgres.vacuum.overdue import Upkeep
from maintenance.postgres.vacuum.triggers import Rule

#: All workers busy for a moment is their purpose; as many tables again in the queue is a backlog.
QUEUE_PER_WORKER = 1

#: One pass over what is due should end within a day, before the next day's rows are dead.
PASS_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class WorkerUse:
    """Autovacuum's workers at one moment. ``busy`` is ``None`` where the role may not see them."""

    busy: int | None
    maximum: int
    slots: int | None  # PostgreSQL 18 and later: the maximum can be raised to it without a restart


@dataclass(frozen=True, slots=True)
class Pace:
    """What the cost settings let all workers together do: pages read and pages dirtied a second.

    ``None`` where no limit is set.
    """

    read_bytes_per_second: float | None
    dirtied_bytes_per_second: float | None
    cost_limit: int
    cost_delay_ms: float
    block_bytes: int


def worker_use(settings: Mapping[str, str], busy: int | None) -> WorkerUse:
    """Read the limits from ``pg_settings``."""
    slots = settings.get("autovacuum_worker_slots")
    return WorkerUse(busy, int(settings["autovacuum_max_workers"]), int(slots) if slots else None)


def pace_of(settings: Mapping[str, str]) -> Pace:
    """Return the pace that autovacuum is held to; a negative setting falls back on VACUUM's own."""
    delay_ms = float(settings["autovacuum_vacuum_cost_delay"])
    if delay_ms < 0:
        delay_ms = float(settings["vacuum_cost_delay"])
    limit = int(settings["autovacuum_vacuum_cost_limit"])
    if limit < 0:
        limit = int(settings["vacuum_cost_limit"])
    block_bytes = int(settings["block_size"])
    if delay_ms == 0:
        return Pace(None, None, limit, delay_ms, block_bytes)
    cost_per_second = limit * 1000.0 / delay_ms

    def bytes_at(cost: str) -> float | None:
        each = float(settings[cost])
        return cost_per_second / each * block_bytes if each > 0 else None

    return Pace(
        bytes_at("vacuum_cost_page_miss"),
        bytes_at("vacuum_cost_page_dirty"),
        limit,
        delay_ms,
        block_bytes,
    )


def bytes_due(upkeep: Sequence[Upkeep], block_bytes: int) -> int:
    """Return the size of the tables that VACUUM is due for."""
    return sum(
        u.table.pages * block_bytes
        for u in _waiting(upkeep)
        if any(t.rule is not Rule.CHANGED_ROWS for t in u.due)
    )


def diagnose_workers(
    use: WorkerUse, pace: Pace, upkeep: Sequence[Upkeep], at_work: frozenset[int]
) -> Iterator[Finding]:
    """Judge the queue of due tables against the workers and the pace they are held to."""
    queue = [u for u in _waiting(upkeep) if u.table.oid not in at_work]
    saturated = use.busy is not None and use.busy >= use.maximum
    if saturated and len(queue) > QUEUE_PER_WORKER * use.maximum:
        yield _saturated(use, pace, len(queue))
    due_bytes = bytes_due(upkeep, pace.block_bytes)
    if pace.dirtied_bytes_per_second is None:
        return
    seconds = due_bytes / pace.dirtied_bytes_per_second
    if seconds > PASS_SECONDS:
        yield _throttled(pace, due_bytes, seconds)


def _waiting(upkeep: Sequence[Upkeep]) -> list[Upkeep]:
    return [u for u in upkeep if u.due and not u.is_switched_off]


def _saturated(use: WorkerUse, pace: Pace, queue: int) -> Finding:
    raised = use.maximum * 2
    if use.slots is None or use.slots < raised:
        how = "that needs a restart"
        if use.slots is not None:
            how += f", with autovacuum_worker_slots raised from {use.slots}, too"
        commands: tuple[str, ...] = ()
        undo: tuple[str, ...] = ()
    else:
        how = "from PostgreSQL 18 on that needs no restart"
        commands = (
            f"ALTER SYSTEM SET autovacuum_max_workers = {raised};",
            "SELECT pg_reload_conf();",
        )
        undo = (
            f"ALTER SYSTEM SET autovacuum_max_workers = {use.maximum};",
            "SELECT pg_reload_conf();",
        )
    return Finding(
        code="autovacuum-workers-saturated",
        severity=Severity.WARNING,
        subject="autovacuum workers",
        sentence=(
            f"All {counted(use.maximum, 'autovacuum worker')} are busy and"
            f" {counted(queue, 'due table')} of this database wait for one."
        ),
        evidence={
            "busy_workers": use.busy,
            "max_workers": use.maximum,
            "worker_slots": use.slots,
            "due_tables": queue,
            **_pace_evidence(pace),
        },
        advice=(
            "First let the workers go faster: raise autovacuum_vacuum_cost_limit, which all of them"
            f" share (now {pace.cost_limit}, each {pace.cost_delay_ms:g} ms). Then raise"
            f" autovacuum_max_workers, to {raised} for a start; {how}."
        ),
        commands=commands,
        undo=undo,
    )


def _throttled(pace: Pace, due_bytes: int, seconds: float) -> Finding:
    dirtied = pace.dirtied_bytes_per_second or 0.0
    raised = min(10_000, pace.cost_limit * 5)
    return Finding(
        code="autovacuum-throttled",
        severity=Severity.WARNING,
        subject="autovacuum cost limit",
        sentence=(
            f"The tables that are due hold {bytes_in_words(due_bytes)}; where each page has to be"
            f" changed, the cost settings let all workers together do"
            f" {bytes_in_words(dirtied)} a second, so that one pass takes up to"
            f" {seconds_in_words(seconds)}."
        ),
        evidence={"due_bytes": due_bytes, "pass_seconds": seconds, **_pace_evidence(pace)},
        advice=(
            "Raise the cost limit while the disk has room for more; all workers share it. It takes"
            " effect at once, also for a VACUUM that runs."
        ),
        commands=(
            f"ALTER SYSTEM SET autovacuum_vacuum_cost_limit = {raised};",
            "SELECT pg_reload_conf();",
        ),
        undo=(
            f"ALTER SYSTEM SET autovacuum_vacuum_cost_limit = {pace.cost_limit};",
            "SELECT pg_reload_conf();",
        ),
    )


def _pace_evidence(pace: Pace) -> dict[str, float | int | None]:
    return {
        "cost_limit": pace.cost_limit,
        "cost_delay_ms": pace.cost_delay_ms,
        "read_bytes_per_second": pace.read_bytes_per_second,
        "dirtied_bytes_per_second": pace.dirtied_bytes_per_second,
    }
