"""What repairs cost beside the server's own tools: vacuum_analyze and vacuumdb on the same tables.

Each comparison is made in pairs, whose first alternates, on tables that were made alike before each.
How much is measured can be set by the environment: ``REPAIR_PAIRS``, ``REPAIR_TABLES``,
``REPAIR_DIRTY_TABLES``, ``REPAIR_MANY_TABLES``, ``REPAIR_LOAD_PAIRS``, ``REPAIR_LOAD_SECONDS``,
``REPAIR_JOBS``. A thousand dirty tables of 8 MB take minutes a pair, so that a quarter of them stands
for all by default.
"""

import json
import os
import statistics
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from bench.own_ledger import figures_of
from bench.production_impact import (
    Latencies,
    latencies,
    logged_transactions,
    maximum_per_second,
    pgbench,
)
from bench.server import Run, postgres_server, session
from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.job import Job
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report
from maintenance.postgres.vacuum.options import VacuumOptions
from maintenance.postgres.vacuum.run import vacuum_analyze
from service.embedded.binaries import locate_postgres
from service.embedded.postgres import EmbeddedPostgres

PAIRS = int(os.environ.get("REPAIR_PAIRS", "7"))
TABLES = int(os.environ.get("REPAIR_TABLES", "1000"))
DIRTY_TABLES = int(os.environ.get("REPAIR_DIRTY_TABLES", "250"))
MANY_TABLES = int(os.environ.get("REPAIR_MANY_TABLES", "10000"))
LOAD_PAIRS = int(os.environ.get("REPAIR_LOAD_PAIRS", "10"))
LOAD_SECONDS = int(os.environ.get("REPAIR_LOAD_SECONDS", "20"))
JOBS = int(os.environ.get("REPAIR_JOBS", "2"))

NEEDING_RATIO = 0.05
NEEDED_LIMIT = 0.2
ALL_DIRTY_LIMIT = 1.05
PLANNING_LIMIT_SECONDS = 2.0
OVERHEAD_LIMIT_MS = 3.0
RISE_LIMIT_PERCENT = 20.0
RISE_LIMIT_MS = 2.0
RISE_LIMIT_OF_VACUUMDB = 0.6

#: A table of 8 MB: 1,024 pages of 38 rows.
ROWS_OF_TABLE = 39_000
_BODY_BYTES = 170
#: Every locked relation counts against max_locks_per_transaction until the block commits.
TABLES_PER_BLOCK = 100
#: What is vacuumed beside pgbench: no more than is done while it runs.
LOADED_TABLES = 60
RATE_RATIO = 0.4
#: Until pgbench has opened its sessions and runs at its rate.
SETTLING_SECONDS = 2.0
SCALE = 20

_MAKE = """
DO $$
BEGIN
    FOR n IN {first}..{last} LOOP
        EXECUTE format(
            'CREATE TABLE work_%s (id int PRIMARY KEY, n int, body text)'
            ' WITH (autovacuum_enabled = off)', n);
        EXECUTE format(
            'INSERT INTO work_%s SELECT i, i, repeat(''x'', {body}) FROM generate_series(1, {rows}) i',
            n);
    END LOOP;
END $$
"""
_EMPTY = """
DO $$
BEGIN
    FOR n IN {first}..{last} LOOP
        EXECUTE format('CREATE TABLE empty_%s (id bigint PRIMARY KEY, body text)', n);
    END LOOP;
END $$
"""
#: A quarter of the rows dies, on every page; those that take their place keep the size as it is.
_DIRTY = """
DO $$
BEGIN
    FOR n IN {first}..{last} LOOP
        EXECUTE format('DELETE FROM work_%s WHERE id %% 4 = {part}', n);
        EXECUTE format(
            'INSERT INTO work_%s SELECT i, i, repeat(''x'', {body})'
            ' FROM generate_series(1, {rows}) i WHERE i %% 4 = {part}', n);
    END LOOP;
END $$
"""
#: A tenth to three tenths of the rows die, below the server's trigger and above it; every fifth table
#: has a trigger of its own.
_AROUND_THE_TRIGGER = """
DO $$
BEGIN
    FOR n IN {first}..{last} LOOP
        IF n % 5 = 0 THEN
            EXECUTE format('ALTER TABLE work_%s SET (autovacuum_vacuum_scale_factor = 0.15)', n);
        END IF;
        EXECUTE format('DELETE FROM work_%s WHERE id %% 100 < %s', n, 10 + n % 21);
    END LOOP;
END $$
"""
#: PostgreSQL documentation, "The Autovacuum Daemon".
_DUE = """
SELECT s.relname FROM pg_stat_user_tables AS s JOIN pg_class AS c ON c.oid = s.relid
WHERE s.n_dead_tup > 50 + greatest(c.reltuples, 0) * coalesce(
    (SELECT option_value::float8 FROM pg_options_to_table(c.reloptions)
     WHERE option_name = 'autovacuum_vacuum_scale_factor'), 0.2)
"""
_TARGET = """
[databases.many]
url = {url}
jobs = {jobs}
exclude_schemas = ["pg_catalog"]
"""


@dataclass(frozen=True, slots=True)
class Pair:
    """Seconds of one run of ours and of one of vacuumdb on the same work."""

    ours: float
    vacuumdb: float

    @property
    def ratio(self) -> float:
        """Ours as a part of vacuumdb's."""
        return self.ours / self.vacuumdb


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, limit, met, peer, raw."""
    with postgres_server(
        autovacuum="off",
        max_locks_per_transaction="1024",
        shared_buffers="256MB",
        max_wal_size="8GB",
    ) as server:
        return [
            *_few_dirty(server),
            *_all_dirty(server),
            *_many_empty(server),
            *_beside_a_site(server),
        ]


@contextmanager
def _database(server: EmbeddedPostgres, name: str) -> Any:
    server.ensure_database(name)
    yield server.url(name)
    with session(server.url()) as run:
        run(f"DROP DATABASE {name} (FORCE)")


def vacuum(url: str, **options: Any) -> Report:
    """Run ours on the public schema, as vacuumdb is run."""
    target = DatabaseTarget(url=url, jobs=JOBS, exclude_schemas=("pg_catalog",))
    report = vacuum_analyze(Job("bench", target, VacuumOptions(**options)), Thresholds())
    refused = [o for o in report.outcomes if o.verdict in {Verdict.FAILED, Verdict.REFUSED}]
    if refused:
        raise RuntimeError(f"{refused[0].action.subject}: {refused[0].sentence}")
    return report


def vacuumdb(url: str) -> None:
    """Run the peer on the public schema."""
    place = urlsplit(url)
    subprocess.run(
        [
            str(locate_postgres().program("vacuumdb")),
            *(f"--host={place.hostname}", f"--port={place.port}", f"--username={place.username}"),
            *("--analyze", f"--jobs={JOBS}", "--schema=public", "--quiet", place.path[1:]),
        ],
        env=os.environ | {"PGPASSWORD": unquote(place.password or "")},
        check=True,
    )


def _in_blocks(run: Run, text: str, numbers: range, **more: Any) -> None:
    for first in range(numbers.start, numbers.stop, TABLES_PER_BLOCK):
        last = min(first + TABLES_PER_BLOCK, numbers.stop) - 1
        run(text.format(first=first, last=last, body=_BODY_BYTES, rows=ROWS_OF_TABLE, **more))


def _dirty(url: str, numbers: range, part: int) -> None:
    """Let a quarter of the rows die, and write everything out: both begin with the same server."""
    with session(url) as run:
        _in_blocks(run, _DIRTY, numbers, part=part % 4)
        run("SELECT pg_stat_force_next_flush()")
        run("CHECKPOINT")


def _seconds(work: Callable[[], object]) -> float:
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def _pairs(url: str, dirty: range, count: int, ours: Callable[[], object]) -> list[Pair]:
    """Measure both on tables dirtied alike, each first in every other pair."""
    pairs = []
    for number in range(count):
        seconds: dict[str, float] = {}
        for who in ("ours", "vacuumdb") if number % 2 else ("vacuumdb", "ours"):
            _dirty(url, dirty, number)
            time.sleep(1.5)  # a statement within the last second counts as a site at work
            seconds[who] = _seconds(ours if who == "ours" else lambda: vacuumdb(url))
        pairs.append(Pair(seconds["ours"], seconds["vacuumdb"]))
    return pairs


def _few_dirty(server: EmbeddedPostgres) -> list[dict[str, Any]]:
    needing = range(1, max(1, round(TABLES * NEEDING_RATIO)) + 1)
    with _database(server, "tables") as url:
        with session(url) as run:
            _in_blocks(run, _MAKE, range(1, TABLES + 1))
        vacuumdb(url)
        pairs = _pairs(url, needing, PAIRS, lambda: vacuum(url))
    name = f"{TABLES:,} tables of 8 MB of which {len(needing)} need it"
    return [_ratio_row(name, pairs, NEEDED_LIMIT)]


def _all_dirty(server: EmbeddedPostgres) -> list[dict[str, Any]]:
    everything = range(1, DIRTY_TABLES + 1)
    with _database(server, "dirty") as url:
        with session(url) as run:
            _in_blocks(run, _MAKE, everything)
        vacuumdb(url)
        pairs = _pairs(url, everything, PAIRS, lambda: vacuum(url))
        due, left = _left_out(url, everything)
    return [
        _ratio_row(f"{DIRTY_TABLES:,} tables of 8 MB, all dirty", pairs, ALL_DIRTY_LIMIT),
        {
            "name": "tables with dead rows above their trigger that were left out",
            "value": len(left),
            "unit": "tables",
            "peer": f"{len(due)} of {DIRTY_TABLES} tables were above by the same triggers in SQL, the others below",
            "limit": "none",
            "met": not left and 0 < len(due) < DIRTY_TABLES,
        },
    ]


def _left_out(url: str, tables: range) -> tuple[set[str], set[str]]:
    """Dirty tables to both sides of their triggers, run ours; return those above before, and after."""
    with session(url) as run:
        _in_blocks(run, _AROUND_THE_TRIGGER, tables)
        run("SELECT pg_stat_force_next_flush()")
    with session(url) as run:
        before = {row[0] for row in run(_DUE)}
        vacuum(url)
        return before, before & {row[0] for row in run(_DUE)}


def _ratio_row(name: str, pairs: Sequence[Pair], limit: float) -> dict[str, Any]:
    ratio = statistics.median(pair.ratio for pair in pairs)
    ours = statistics.median(pair.ours for pair in pairs)
    theirs = statistics.median(pair.vacuumdb for pair in pairs)
    return {
        "name": f"vacuum_analyze as a part of vacuumdb --analyze --jobs {JOBS}: {name}",
        "value": ratio,
        "unit": "times",
        "peer": f"ours {ours:.3g} s, vacuumdb {theirs:.3g} s, {len(pairs)} pairs",
        "limit": f"at most {limit:g}",
        "met": ratio <= limit,
        "raw": {"ours": [p.ours for p in pairs], "vacuumdb": [p.vacuumdb for p in pairs]},
    }


def _many_empty(server: EmbeddedPostgres) -> list[dict[str, Any]]:
    with _database(server, "many") as url:
        with session(url) as run:
            _in_blocks(run, _EMPTY, range(1, MANY_TABLES + 1))
        planning = min(_seconds(lambda: vacuum(url, dry_run=True)) for _ in range(3))
        vacuumdb(url)
        theirs = _seconds(lambda: vacuumdb(url))
        found = figures_of(
            "bench.repairs_process", configuration=_TARGET.format(url=json.dumps(url), jobs=JOBS)
        )
        if found["steps"] < MANY_TABLES:
            raise RuntimeError(f"only {found['steps']} of {MANY_TABLES} tables were done")
    each_ms = 1000 * found["seconds"] / MANY_TABLES
    return [
        {
            "name": f"planning on {MANY_TABLES:,} tables",
            "value": planning,
            "unit": "s",
            "peer": "best of 3 dry runs, session and catalogs included",
            "limit": f"under {PLANNING_LIMIT_SECONDS:g}",
            "met": planning < PLANNING_LIMIT_SECONDS,
        },
        {
            "name": f"a run of vacuum_analyze by the engine on {MANY_TABLES:,} empty tables (mode all),"
            " ledger and report included, for each",
            "value": each_ms,
            "unit": "ms",
            "peer": f"vacuumdb {1000 * theirs / MANY_TABLES:.2g} ms, {JOBS} jobs",
            "limit": f"under {OVERHEAD_LIMIT_MS:g}",
            "met": each_ms < OVERHEAD_LIMIT_MS,
        },
    ]


def _beside_a_site(server: EmbeddedPostgres) -> list[dict[str, Any]]:
    """Measure pgbench alone, beside ours and beside vacuumdb, on the same dirty tables."""
    with _database(server, "site") as url:
        pgbench(url, "--initialize", "--quiet", f"--scale={SCALE}")
        loaded = range(1, LOADED_TABLES + 1)
        with session(url) as run:
            _in_blocks(run, _MAKE, loaded)
            run("VACUUM ANALYZE")
        rate = RATE_RATIO * maximum_per_second(url)
        found: list[dict[str, Latencies]] = []
        for number in range(LOAD_PAIRS):
            order = ["alone", "ours", "vacuumdb"]
            if number % 2:
                order.reverse()
            found.append({who: _beside(url, loaded, number, who, rate) for who in order})
    return _load_rows(found, rate)


def _beside(url: str, tables: range, number: int, who: str, rate: float) -> Latencies:
    """Run pgbench at this rate, ``who`` beside it, and return what it felt in that time."""
    _dirty(url, tables, number)
    lines: list[str] = []
    site = threading.Thread(
        target=lambda: lines.extend(logged_transactions(url, rate, LOAD_SECONDS))
    )
    site.start()
    time.sleep(SETTLING_SECONDS)
    begin = time.time()
    if who == "ours":
        vacuum(url)
    elif who == "vacuumdb":
        vacuumdb(url)
    end = time.time() if who != "alone" else float("inf")
    site.join()
    return latencies([line for line in lines if begin <= _ended_at(line) <= end])


def _ended_at(line: str) -> float:
    """Return when a transaction of pgbench's log ended, in seconds since the epoch."""
    columns = line.split()
    return int(columns[4]) + int(columns[5]) / 1e6


def _load_rows(found: Sequence[dict[str, Latencies]], rate: float) -> list[dict[str, Any]]:
    alone = statistics.median(pair["alone"].p99_ms for pair in found)
    rises = {
        who: statistics.median(pair[who].p99_ms - pair["alone"].p99_ms for pair in found)
        for who in ("ours", "vacuumdb")
    }
    limit_ms = max(RISE_LIMIT_MS, alone * RISE_LIMIT_PERCENT / 100)
    ours = max(0.0, rises["ours"])
    nothing_to_beat = float("inf") if ours else 0.0
    ratio = ours / rises["vacuumdb"] if rises["vacuumdb"] > 0 else nothing_to_beat
    raw = {who: [pair[who].p99_ms for pair in found] for who in ("alone", "ours", "vacuumdb")}
    return [
        {
            "name": "rise of pgbench's 99th percentile beside vacuum_analyze",
            "value": rises["ours"],
            "unit": "ms",
            "peer": f"alone {alone:.3g} ms ({min(raw['alone']):.3g} to {max(raw['alone']):.3g}) at {rate:,.0f}"
            f" transactions/s, {len(found)} pairs",
            "limit": f"at most {limit_ms:.3g} (20 % or 2 ms)",
            "met": rises["ours"] <= limit_ms,
            "raw": raw,
        },
        {
            "name": "the same rise as a part of that beside vacuumdb",
            "value": ratio,
            "unit": "times",
            "peer": f"beside vacuumdb {rises['vacuumdb']:.3g} ms",
            "limit": f"at most {RISE_LIMIT_OF_VACUUMDB:g}",
            "met": ratio <= RISE_LIMIT_OF_VACUUMDB,
        },
    ]
