"""One service that looks after 500 databases: what each of them costs beat, the ledger and a probe.

Each target has its own rows of every schedule, none of which is due here: this is what *having* targets
costs, not what their tasks do, which is each task's own bench. The same process measures with a few
targets and with many; the difference, shared out, is the cost of one.
"""

from collections.abc import Mapping
from typing import Any

from bench.own_ledger import figures_of

FEW, MANY = 10, 500
#: Beat looks for edits every two seconds, and renews a lease of ten by it.
TICK_LIMIT_MS = 50.0
#: All of them in the memory that beat is given in containers (256 MB), beside itself.
MEMORY_LIMIT_KB = 200.0
#: A probe keeps its answer for 10 s: no more than a fiftieth of a web process.
PROBE_LIMIT_SECONDS = 0.2


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, peer, limit, met."""
    return rows_of(measure(FEW), measure(MANY))


def measure(targets: int) -> dict[str, float]:
    """Return the figures of a service with so many targets, by name."""
    sections = [f'[databases.site-{n}]\nurl = "env:DATABASE_URL"\n' for n in range(targets)]
    figures: dict[str, float] = figures_of(
        "bench.many_targets_process", targets, configuration="\n".join(sections)
    )
    return figures


def rows_of(few: Mapping[str, float], many: Mapping[str, float]) -> list[dict[str, Any]]:
    """Return the rows: what all targets cost, and what one more does."""
    targets = many["targets"]
    about = f"{targets:g} targets, {many['schedules']:,.0f} schedules"
    memory_kb = _each("memory_bytes", few, many) / 1000
    return [
        _row(f"tick of beat that looks for edits, nothing due, {about}, median", "ms",
             many["tick_ms"], TICK_LIMIT_MS, f"{few['tick_ms']:.1f} ms with {few['targets']:g}"),
        _row("memory of beat (PSS), each target", "kB", memory_kb, MEMORY_LIMIT_KB,
             f"{many['memory_bytes'] / 1e6:.0f} MB in all, {few['memory_bytes'] / 1e6:.0f} MB with"
             f" {few['targets']:g}"),
        _row("look of the probe at /health/, all targets", "s",
             many["probe_seconds"], PROBE_LIMIT_SECONDS, ""),
        _row("start of beat until its first tick is done, each target", "ms",
             _each("start_seconds", few, many) * 1000, None, f"{many['start_seconds']:.1f} s in all"),
        _row("sync_schedules on an empty ledger, each target", "ms",
             _each("sync_seconds", few, many) * 1000, None, f"{many['sync_seconds']:.1f} s in all"),
        _row(f"connections of beat to the ledger, {targets:g} targets", "connections",
             many["connections"], 2.0, f"{few['connections']:g} with {few['targets']:g}"),
    ]  # fmt: skip


def _each(name: str, few: Mapping[str, float], many: Mapping[str, float]) -> float:
    return (many[name] - few[name]) / (many["targets"] - few["targets"])


def _row(name: str, unit: str, value: float, limit: float | None, peer: str) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "peer": peer,
        "limit": "none" if limit is None else f"under {limit:g}",
        "met": limit is None or value < limit,
    }
