"""What the whole of ``analyze_db_performance`` costs on a database of 10,000 tables.

All analyses are run as the command runs them, in a process of its own whose greatest
memory is noted; the first round knows no earlier run, those after it compare with the one before.
A database of a tenth of the size tells whether the cost grows faster than the database does.

The cost of a large table is that of the two bloat reports on one table of 2 GB, half of whose rows
were deleted in one go: the least certain sample, for which the most pages are read.
"""

import multiprocessing
import resource
import secrets
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from bench.earlier_rounds import EarlierRounds
from bench.many_tables import build_large_table, build_many_tables
from bench.server import Run, postgres_server, session, wait_until_gone
from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.postgres import analyses, checks
from maintenance.postgres.analyses import ANALYSES, Analysis, Part
from maintenance.postgres.bloat.indexes import report_index_bloat
from maintenance.postgres.bloat.options import IndexBloatOptions, TableBloatOptions
from maintenance.postgres.bloat.tables import report_table_bloat
from maintenance.postgres.integrity.options import IntegrityOptions
from maintenance.postgres.integrity.review import check_data_integrity

MANY_TABLES = 10_000
FEWER_TABLES = 1_000
INDEXES_PER_TABLE = 3
ROUNDS = 3
SECONDS_LIMIT = 10.0
MEMORY_LIMIT_MB = 300.0
#: Time a relation may cost so many times as much in the larger database: noise, and sorting.
GROWTH_LIMIT = 1.3
LARGE_TABLE_GB = 2.0
PAGES_LIMIT_PERCENT = 1.0

#: Pages of table, indexes, TOAST table and its index that backends asked for, cached or not.
_PAGES_ASKED_FOR = """
SELECT heap_blks_read + heap_blks_hit + coalesce(idx_blks_read + idx_blks_hit, 0)
       + coalesce(toast_blks_read + toast_blks_hit, 0)
       + coalesce(tidx_blks_read + tidx_blks_hit, 0)
FROM pg_statio_user_tables WHERE relname = %s
"""
_PAGES = "SELECT pg_relation_size(%s::regclass) / 8192"


@dataclass(slots=True)
class Cost:
    """Seconds of each round, in all and by analysis, and the process's greatest memory."""

    seconds_a_round: list[float] = field(default_factory=list)
    seconds_by_analysis: list[dict[str, float]] = field(default_factory=list)
    peak_memory_bytes: int = 0
    integrity_seconds: float = 0.0

    @property
    def seconds(self) -> float:
        """The whole analysis at the median of the rounds."""
        return statistics.median(self.seconds_a_round)

    def seconds_of(self, name: str) -> float:
        """One analysis at the median of the rounds."""
        return statistics.median(seconds[name] for seconds in self.seconds_by_analysis)

    def raw(self) -> dict[str, Any]:
        """Every round."""
        return {"seconds": self.seconds_a_round, "by_analysis": self.seconds_by_analysis}

    def slowest(self, count: int = 3) -> str:
        """Name the analyses that take most of the time."""
        names = sorted(self.seconds_by_analysis[0], key=self.seconds_of, reverse=True)[:count]
        return ", ".join(f"{name} {self.seconds_of(name):.2g} s" for name in names)


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, limit, met, peer, raw."""
    with postgres_server(
        autovacuum="off",  # a database just filled would be vacuumed meanwhile
        # What is filled in the transaction that made it is not written twice.
        wal_level="minimal",
        max_wal_senders="0",
        max_locks_per_transaction="1024",
        shared_buffers="256MB",  # the catalogs alone are 150 MB
        **{"pg_stat_statements.max": "5000"},
    ) as server:
        large = _large_table_rows(server)
        costs = {tables: _cost_of(server, tables) for tables in (FEWER_TABLES, MANY_TABLES)}
    return [*_cost_rows(costs[FEWER_TABLES], costs[MANY_TABLES]), *large]


def _cost_of(server: Any, tables: int) -> Cost:
    database = f"tables_{tables}"
    server.ensure_database(database)
    server.ensure_extension(database, "pg_stat_statements")
    url = server.url(database)
    with session(url) as run:
        build_many_tables(run, tables)
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_analyse, args=(url, theirs))
    process.start()
    cost: Cost = ours.recv()
    process.join()
    with session(server.url()) as run:
        run(f"DROP DATABASE {database} (FORCE)")
    return cost


def _analyse(url: str, line: Connection) -> None:
    target, thresholds, cost = DatabaseTarget(url=url), Thresholds(), Cost()
    earlier = EarlierRounds()
    for _round in range(ROUNDS):
        seconds = dict.fromkeys(ANALYSES, 0.0)
        analyses.ANALYSES = timed(ANALYSES, seconds)
        begin = time.perf_counter()
        reports = checks.run_analyses("bench", target, list(ANALYSES), thresholds, earlier)
        cost.seconds_a_round.append(time.perf_counter() - begin)
        cost.seconds_by_analysis.append(seconds)
        by_name = dict(zip(ANALYSES, reports, strict=True))
        for name, report in by_name.items():
            if any(finding.code == "not-measured" for finding in report.findings):
                raise RuntimeError(f"{name} was not measured: {report.summary}")
        earlier.note(by_name)
    cost.peak_memory_bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    begin = time.perf_counter()
    check_data_integrity(Job("bench", target, IntegrityOptions()), thresholds)
    cost.integrity_seconds = time.perf_counter() - begin
    line.send(cost)


def timed(analyses: Mapping[str, Analysis], seconds: dict[str, float]) -> dict[str, Analysis]:
    """Return the analyses with a clock that adds to ``seconds`` by their names."""

    def with_clock(name: str, part: Part) -> Part:
        def measure(job: Any, thresholds: Thresholds) -> Report:
            begin = time.perf_counter()
            try:
                return part.measure(job, thresholds)
            finally:
                seconds[name] += time.perf_counter() - begin

        return replace(part, measure=measure)

    return {
        name: replace(analysis, parts=tuple(with_clock(name, part) for part in analysis.parts))
        for name, analysis in analyses.items()
    }


def _cost_rows(fewer: Cost, many: Cost) -> list[dict[str, Any]]:
    database = f"{MANY_TABLES:,} tables and {MANY_TABLES * INDEXES_PER_TABLE:,} indexes"
    growth = many.seconds / fewer.seconds / (MANY_TABLES / FEWER_TABLES)
    memory_mb = many.peak_memory_bytes / 1e6
    return [
        {
            "name": f"analyze_db_performance on {database}, median of {ROUNDS}",
            "value": many.seconds,
            "unit": "s",
            "peer": f"slowest: {many.slowest()}",
            "limit": f"at most {SECONDS_LIMIT:g}",
            "met": many.seconds <= SECONDS_LIMIT,
            "raw": many.raw(),
        },
        {
            "name": "peak memory of its process",
            "value": memory_mb,
            "unit": "MB",
            "peer": f"{fewer.peak_memory_bytes / 1e6:.0f} MB on {FEWER_TABLES:,} tables",
            "limit": f"at most {MEMORY_LIMIT_MB:g}",
            "met": memory_mb <= MEMORY_LIMIT_MB,
        },
        {
            "name": f"its time a table, against that on {FEWER_TABLES:,} tables",
            "value": growth,
            "unit": "times",
            "peer": f"{fewer.seconds:.2g} s on {FEWER_TABLES:,} tables, slowest: {fewer.slowest()}",
            "limit": f"at most {GROWTH_LIMIT:g}",
            "met": growth <= GROWTH_LIMIT,
            "raw": fewer.raw(),
        },
        {
            "name": f"check_data_integrity on {database}",
            "value": many.integrity_seconds,
            "unit": "s",
            "peer": f"{fewer.integrity_seconds:.2g} s on {FEWER_TABLES:,} tables",
            "limit": "none",
            "met": True,
        },
    ]


def _large_table_rows(server: Any) -> list[dict[str, Any]]:
    server.ensure_database("large")
    url = server.url("large")
    with session(url) as run:
        reader = _reader(run, url)
        return _pages_rows(run, reader)


def _reader(run: Run, url: str) -> str:
    """Return the URL of a role that measures with the least rights, whose reads are counted."""
    password = secrets.token_hex(16)
    run(f"CREATE ROLE reader LOGIN PASSWORD '{password}' IN ROLE pg_monitor, pg_read_all_data")
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"reader:{password}@{address}"))


def _pages_rows(run: Run, url: str) -> list[dict[str, Any]]:
    reports: Mapping[str, Callable[[], Report]] = {
        "table bloat": lambda: report_table_bloat(
            Job("bench", DatabaseTarget(url=url), TableBloatOptions(seed=1)), Thresholds()
        ),
        "index bloat": lambda: report_index_bloat(
            Job("bench", DatabaseTarget(url=url), IndexBloatOptions()), Thresholds()
        ),
    }
    build_large_table(run, "big", int(LARGE_TABLE_GB * 1e9))
    ((pages,),) = run(_PAGES, "big")
    rows = [_pages_row(run, name, report, pages) for name, report in reports.items()]
    run("DROP TABLE big")
    return rows


def _pages_row(run: Run, name: str, report: Callable[[], Report], pages: int) -> dict[str, Any]:
    # What this session did is added to the counters when it likes, unless it is told to.
    run("SELECT pg_stat_force_next_flush()")
    ((before,),) = run(_PAGES_ASKED_FOR, "big")
    begin = time.perf_counter()
    report()
    seconds = time.perf_counter() - begin
    wait_until_gone(run, "maintenance:%")  # a session adds to the counters as it ends
    ((after,),) = run(_PAGES_ASKED_FOR, "big")
    percent = 100 * (after - before) / pages
    return {
        "name": f"pages that {name} asks for of a table of {pages * 8192 / 1e9:.1f} GB",
        "value": percent,
        "unit": "%",
        "peer": f"{after - before:,} of {pages:,}, cached ones included, in {seconds:.2f} s",
        "limit": f"at most {PAGES_LIMIT_PERCENT:g}",
        "met": 0 < percent <= PAGES_LIMIT_PERCENT,
    }
