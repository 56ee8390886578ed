"""The dashboard, other pages and what programs ask, with 1,000,000 runs, 5,000,000 samples and 200 targets.

A process with the service's settings fills the ledger of a server of the bench's own, and asks as a
browser of somebody whose permissions come from a group does, and as Prometheus does. Brokers were looked
at every hour, all else about every day, for more than a year.
"""

from typing import Any

from bench.own_ledger import figures_of

RUNS = 1_000_000
PAGES = 30

#: Targets by section of the configuration; 200 in all.
TARGETS = {"databases": 100, "redis": 30, "brokers": 30, "logs": 20, "caches": 10, "hosts": 10}

PAGE_LIMIT_MS = 150.0
POLL_LIMIT_MS = 10.0
QUERIES_LIMIT = 15
WEIGHT_LIMIT_KB = 400.0
#: Prometheus asks four times a minute: this is a hundredth of the time.
SCRAPE_LIMIT_MS = 150.0


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, peer, limit, met."""
    measured = measure()
    targets = sum(TARGETS.values())
    filled = f"{measured['runs']:,} runs, {measured['samples']:,} samples, {targets} targets"
    return [
        _row(
            f"dashboard with {filled}, median of {PAGES}",
            measured["all"]["ms"],
            "ms",
            PAGE_LIMIT_MS,
            "{queries} queries, {query_ms:.0f} ms".format(**measured["all"]),
        ),
        _row("its queries", measured["all"]["queries"], "", QUERIES_LIMIT + 1),
        _row(
            "its weight with styles and scripts",
            measured["all"]["kb"] + measured["static_kb"],
            "kB",
            WEIGHT_LIMIT_KB,
            "{:.0f} kB of them the page itself, not compressed".format(measured["all"]["kb"]),
        ),
        _row(
            "dashboard of one target",
            measured["one"]["ms"],
            "ms",
            PAGE_LIMIT_MS,
            "{queries} queries, {query_ms:.0f} ms".format(**measured["one"]),
        ),
        _row(
            "list of runs",
            measured["list"]["ms"],
            "ms",
            PAGE_LIMIT_MS,
            "{query_ms:.0f} ms in queries".format(**measured["list"]),
        ),
        _row("queries of the list", measured["list"]["queries"], "", QUERIES_LIMIT + 1),
        _row(
            f"page of a report with {measured['report_words']}",
            measured["report"]["ms"],
            "ms",
            PAGE_LIMIT_MS,
            "compared with the one before; {query_ms:.0f} ms in queries".format(
                **measured["report"]
            ),
        ),
        _row("queries of the report's page", measured["report"]["queries"], "", QUERIES_LIMIT + 1),
        _row(
            "weight of the report's page with styles and scripts",
            measured["report"]["kb"] + measured["report_static_kb"],
            "kB",
            WEIGHT_LIMIT_KB,
            "{:.0f} kB of them the page itself, not compressed".format(measured["report"]["kb"]),
        ),
        _row(
            "poll of a run's progress",
            measured["poll"]["ms"],
            "ms",
            POLL_LIMIT_MS,
            "{queries} queries".format(**measured["poll"]),
        ),
        _row(
            "answer to Prometheus",
            measured["metrics"]["ms"],
            "ms",
            SCRAPE_LIMIT_MS,
            "{queries} queries, {query_ms:.0f} ms; {kb:.0f} kB".format(**measured["metrics"]),
        ),
        _row(
            "API: newest 50 runs",
            measured["api"]["ms"],
            "ms",
            PAGE_LIMIT_MS,
            "{queries} queries".format(**measured["api"]),
        ),
    ]


def measure() -> dict[str, Any]:
    """Return the figures by name."""
    return figures_of(
        "bench.dashboard_process",
        *(RUNS, PAGES),
        configuration=_configuration(),
        environment={"BENCH_TOKEN": "0123456789abcdef" * 2},
    )


def _configuration() -> str:
    bodies = {
        "databases": 'url = "postgres://db.example/site"',
        "redis": 'url = "redis://cache.example/0"\nrole = "cache"',
        "brokers": 'url = "redis://broker.example/0"\nqueues = ["high", "medium", "low"]',
        "logs": 'path = "/var/log/nginx/access.log"',
        "caches": 'url = "redis://cache.example/1"',
        "hosts": 'paths = ["/"]',
    }
    sections = [
        f"[{section}.{section}_{number}]\n{bodies[section]}\n"
        for section, count in TARGETS.items()
        for number in range(count)
    ]
    access = '[access]\nmetrics = "env:BENCH_TOKEN"\nread = "env:BENCH_TOKEN"\n'
    return "\n".join([access, *sections])


def _row(name: str, value: float, unit: str, limit: float, peer: str = "") -> dict[str, Any]:
    return {
        "name": name,
        "value": value,
        "unit": unit,
        "limit": f"under {limit:g} {unit}".strip(),
        "met": value < limit,
        "peer": peer,
    }
