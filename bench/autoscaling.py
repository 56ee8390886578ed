"""What one more worker brings when runs wait: how soon it is there, how much faster they go, what it takes.

Each run looks at a database that takes a second to let anybody in (PostgreSQL's ``post_auth_delay``), as
one far away or busy does: what several workers can wait for at once is what more of them are for.
"""

from collections.abc import Mapping
from typing import Any

from bench.autoscaling_process import FAR_DATABASE
from bench.own_ledger import figures_of
from bench.redis_server import redis_servers

RUNS = 64
WORKERS = (1, 2, 4)
#: Half of what the loop in docs/scale_out.md waits between two looks.
START_LIMIT_SECONDS = 15.0
#: What docker-compose.yml gives such a worker is three times as much.
MEMORY_LIMIT_MB = 350.0
STOP_LIMIT_SECONDS = 10.0
#: Of the time of one worker. Half and a quarter, if waiting were all: sending and recording the runs takes
#: its time as well, and four workers are sixteen processes, here on two processors.
SHARE_LIMITS: Mapping[int, float] = {2: 0.6, 4: 0.4}


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, peer, limit, met."""
    for _kind, url in redis_servers():
        return rows_of({workers: measure(workers, url) for workers in WORKERS})
    raise RuntimeError("There is no broker.")


def measure(workers: int, broker_url: str) -> dict[str, float]:
    """Return the figures of so many workers of four processes each, by name."""
    section = '[databases.site-{0}]\nurl = "env:{1}"\n'
    figures: dict[str, float] = figures_of(
        "bench.autoscaling_process",
        RUNS,
        workers,
        configuration="\n".join(section.format(number, FAR_DATABASE) for number in range(RUNS)),
        environment={"REDIS_URL": broker_url},
    )
    return figures


def rows_of(found: Mapping[int, Mapping[str, float]]) -> list[dict[str, Any]]:
    """Return the rows: what two and four workers are to one, and what each of them takes."""
    alone = found[1]
    shares = [
        _row(f"{RUNS} runs that wait for their targets, with {workers} workers, of the time of one",
             "times", found[workers]["drain_seconds"] / alone["drain_seconds"], limit,
             f"{found[workers]['drain_seconds']:.1f} s, one {alone['drain_seconds']:.1f} s")
        for workers, limit in SHARE_LIMITS.items()
    ]  # fmt: skip
    return [
        *shares,
        _row("start of a worker until it takes messages", "s",
             alone["start_seconds"], START_LIMIT_SECONDS, ""),
        _row("memory of a worker of four processes (PSS)", "MB",
             alone["memory_bytes"] / 1e6, MEMORY_LIMIT_MB,
             f"{found[4]['memory_bytes'] / 1e6:.0f} MB each, of four"),
        _row("end of a worker that has nothing to do", "s",
             alone["stop_seconds"], STOP_LIMIT_SECONDS, ""),
    ]  # fmt: skip


def _row(name: str, unit: str, value: float, limit: float, peer: str) -> dict[str, Any]:
    return {
        "name": name,
        "value": round(value, 2),
        "unit": unit,
        "peer": peer,
        "limit": f"under {limit:g}",
        "met": value < limit,
    }
