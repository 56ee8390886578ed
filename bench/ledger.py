"""The ledger's own cost: of a run, of its list in the admin, and of forgetting old runs.

A process with the service's settings works on a server of the bench's own, which writes to disk as in
production: what a run costs the ledger is mostly its three commits. Then a million past runs are made, a
tenth of them older than the retention, each with its report, and the list's first page is asked for as
a browser does. Last, the retention deletes the tenth, while another process goes on with runs.
"""

from typing import Any

from bench.own_ledger import figures_of

RUNS = 500
PAST_RUNS = 1_000_000
OLD_RUNS = 100_000
PAGES = 30

OVERHEAD_LIMIT_MS = 10.0
PAGE_LIMIT_MS = 100.0
RETENTION_LIMIT_SECONDS = 10.0
#: A run's own writes beside the retention; a lock that it waited for would show as a batch's time.
BESIDE_LIMIT_MS = 500.0

DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, peer, limit, met."""
    measured = measure(RUNS, PAST_RUNS, OLD_RUNS, PAGES)
    return [
        _row(
            f"ledger's part of a run (claim, heartbeat, finish), median of {RUNS}",
            measured["overhead_ms"],
            "ms",
            OVERHEAD_LIMIT_MS,
            "claim {claim_ms:.1f}, heartbeat {heartbeat_ms:.1f}, finish {finish_ms:.1f} ms".format(
                **measured
            ),
        ),
        _row(
            f"first page of the list of {PAST_RUNS:,} runs in the admin, median of {PAGES}",
            measured["page_ms"],
            "ms",
            PAGE_LIMIT_MS,
            "{page_queries} queries, {page_query_ms:.1f} ms".format(**measured),
        ),
        _row(
            f"retention of {OLD_RUNS:,} of {PAST_RUNS:,} runs with their reports",
            measured["retention_seconds"],
            "s",
            RETENTION_LIMIT_SECONDS,
        ),
        _row(
            "slowest claim, heartbeat and finish of a run meanwhile",
            measured["beside_ms"],
            "ms",
            BESIDE_LIMIT_MS,
            "median {beside_median_ms:.1f} ms of {beside_runs:,}".format(**measured),
        ),
    ]


def measure(runs: int, past_runs: int, old_runs: int, pages: int) -> dict[str, Any]:
    """Return the figures by name."""
    return figures_of(
        "bench.ledger_process",
        *(runs, past_runs, old_runs, pages),
        configuration='[databases.site]\nalias = "default"\n',
        settings=DURABLE,
    )


def _row(name: str, value: float, unit: str, limit: float, peer: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "limit": f"under {limit:g} {unit}",
        "met": value < limit,
        "peer": peer,
    }
