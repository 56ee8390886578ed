"""What a site's own transactions feel of a full analysis: pgbench with and without one in a loop.

pgbench runs at 40 % of what it reaches on this machine (``--rate``), in pairs: once undisturbed,
once while every analysis of ``analyze_db_performance`` runs again and again on the same database.
Which comes first alternates. A latency is counted from the moment a transaction was due. The change
is the median over the pairs; the analysing process itself runs on the same cores.
"""

import multiprocessing
import os
import re
import statistics
import subprocess
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg2

from bench.many_tables import build_many_tables
from bench.server import postgres_server, session
from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.postgres.analyses import ANALYSES
from maintenance.postgres.checks import run_analyses
from maintenance.postgres.driver import WatchedSession
from service.embedded.binaries import locate_postgres

PAIRS = 10
SECONDS_A_RUN = 10
SECONDS_OF_THE_MAXIMUM = 10
RATE_RATIO = 0.4
#: 300 MB of accounts: the cores are the limit, not the disk. Clients for two cores, and to spare.
SCALE = 20
CLIENTS = 8
OTHER_TABLES = 500
MEDIAN_LIMIT_PERCENT = 5.0

_LOAD = (f"--client={CLIENTS}", "--jobs=1", "--protocol=prepared")


@dataclass(frozen=True, slots=True)
class Latencies:
    """Median and 99th percentile of one run, in milliseconds."""

    median_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Analysing:
    """What the analyses of one run took: how many, of the server, of their own process."""

    analyses: float
    server_cpu_seconds: float
    own_cpu_seconds: float


@dataclass(frozen=True, slots=True)
class Pair:
    """One run undisturbed and one beside the analysis."""

    alone: Latencies
    beside: Latencies


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, limit, met, peer, raw."""
    with postgres_server(shared_buffers="512MB") as server:
        server.ensure_database("site")
        server.ensure_extension("site", "pg_stat_statements")
        url = server.url("site")
        pgbench(url, "--initialize", "--quiet", f"--scale={SCALE}")
        with session(url) as run:
            build_many_tables(run, OTHER_TABLES)
            run("VACUUM ANALYZE")
        rate = RATE_RATIO * maximum_per_second(url)
        pairs, analysing = _pairs(url, rate)
    return _rows(rate, pairs, analysing)


def _pairs(url: str, rate: float) -> tuple[list[Pair], list[Analysing]]:
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=_analyse, args=(url, theirs))
    process.start()
    pairs: list[Pair] = []
    analysing: list[Analysing] = []
    for number in range(PAIRS):
        found: dict[bool, Latencies] = {}
        for beside in (True, False) if number % 2 else (False, True):
            if beside:
                ours.send("go")
                ours.recv()  # the first analysis is on its way
            found[beside] = latencies_beside(url, rate, SECONDS_A_RUN)
            if beside:
                ours.send("pause")
                analysing.append(ours.recv())
        pairs.append(Pair(found[False], found[True]))
    ours.send("end")
    process.join()
    return pairs, analysing


def _analyse(url: str, line: Connection) -> None:
    """Analyse again and again between "go" and "pause", until "end"."""
    meter = BackendMeter()
    psycopg2.connect = meter.connect
    target, thresholds = DatabaseTarget(url=url), Thresholds()
    while line.recv() == "go":
        line.send("going")
        done, server_before, own_before = 0, meter.cpu_seconds, _own_cpu_seconds()
        while not line.poll():
            # By name, so that a pause is not kept waiting for all of them.
            run_analyses("bench", target, [list(ANALYSES)[done % len(ANALYSES)]], thresholds)
            done += 1
        line.recv()
        line.send(
            Analysing(
                done / len(ANALYSES),
                meter.cpu_seconds - server_before,
                _own_cpu_seconds() - own_before,
            )
        )


class BackendMeter:
    """Adds up the processor time of the server's processes behind the sessions of this process."""

    def __init__(self) -> None:
        self.cpu_seconds = 0.0
        self._connect = psycopg2.connect

    def connect(self, *arguments: Any, **parameters: Any) -> Any:
        """Open a session whose server process is looked at before it is closed."""
        meter = self

        class Metered(WatchedSession):
            def close(self) -> None:
                if not self.closed:
                    meter.cpu_seconds += cpu_seconds_of(self.info.backend_pid)
                super().close()

        return self._connect(*arguments, **{**parameters, "connection_factory": Metered})


def cpu_seconds_of(pid: int) -> float:
    """Return the processor time of a process: proc(5), the first number of schedstat, in ns."""
    return int(Path(f"/proc/{pid}/schedstat").read_text().split()[0]) / 1e9


def _own_cpu_seconds() -> float:
    times = os.times()
    return times.user + times.system


def pgbench(url: str, *arguments: str) -> str:
    """Run pgbench of the same server and return what it says. Raises ``RuntimeError``."""
    place = urlsplit(url)
    done = subprocess.run(
        [
            str(locate_postgres().program("pgbench")),
            *(f"--host={place.hostname}", f"--port={place.port}", f"--username={place.username}"),
            *arguments,
            place.path[1:],
        ],
        env=os.environ | {"PGPASSWORD": unquote(place.password or "")},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise RuntimeError(f"pgbench failed:\n{done.stdout}\n{done.stderr}")
    return done.stdout


def maximum_per_second(url: str) -> float:
    """Return the transactions a second that this machine reaches."""
    return transactions_per_second(
        pgbench(url, *_LOAD, f"--time={SECONDS_OF_THE_MAXIMUM}", "--no-vacuum")
    )


def transactions_per_second(text: str) -> float:
    """Read pgbench's summary. Raises ``RuntimeError`` where there is none."""
    found = re.search(r"^tps = ([\d.]+)", text, re.MULTILINE)
    if found is None:
        raise RuntimeError(f"pgbench did not say how fast it was:\n{text}")
    return float(found[1])


def latencies_beside(url: str, rate: float, seconds: int) -> Latencies:
    """Run pgbench at this rate, beside whatever else is at work."""
    return latencies(logged_transactions(url, rate, seconds))


def logged_transactions(url: str, rate: float, seconds: int) -> list[str]:
    """Run pgbench at this rate and return the lines of its log, one a transaction."""
    with tempfile.TemporaryDirectory(prefix="bench-pgbench-") as folder:
        pgbench(
            url,
            *_LOAD,
            *("--no-vacuum", "--log", f"--log-prefix={folder}/log"),
            *(f"--rate={rate:.0f}", f"--time={seconds}"),
        )
        return [line for log in Path(folder).iterdir() for line in log.read_text().splitlines()]


def latencies(lines: Sequence[str]) -> Latencies:
    """Read pgbench's log, whose third column is a transaction's time in microseconds."""
    times = sorted(int(line.split()[2]) for line in lines)
    return Latencies(statistics.median(times) / 1000, times[int(len(times) * 0.99)] / 1000)


def change_percent(pairs: Sequence[Pair], figure: str) -> float:
    """Return the median over the pairs of how much ``figure`` is higher beside the analysis."""
    changes = [getattr(pair.beside, figure) / getattr(pair.alone, figure) - 1 for pair in pairs]
    return 100 * float(statistics.median(changes))


def _rows(
    rate: float, pairs: Sequence[Pair], analysing: Sequence[Analysing]
) -> list[dict[str, Any]]:
    analyses = sum(part.analyses for part in analysing)
    server_seconds = sum(part.server_cpu_seconds for part in analysing)
    own_seconds = sum(part.own_cpu_seconds for part in analysing)
    load = f"pgbench at {RATE_RATIO:.0%} of its maximum"
    change = change_percent(pairs, "median_ms")
    return [
        {
            "name": f"median latency of {load} beside a full analysis in a loop",
            "value": change,
            "unit": "% more",
            "peer": f"{_both(pairs, 'median_ms')}, {PAIRS} pairs, {rate:,.0f} transactions/s",
            "limit": f"at most {MEDIAN_LIMIT_PERCENT:g}",
            "met": change <= MEDIAN_LIMIT_PERCENT,
            "raw": {
                "alone_ms": [pair.alone.median_ms for pair in pairs],
                "beside_ms": [pair.beside.median_ms for pair in pairs],
            },
        },
        {
            "name": "99th percentile, likewise",
            "value": change_percent(pairs, "p99_ms"),
            "unit": "% more",
            "peer": _both(pairs, "p99_ms"),
            "limit": "none",
            "met": True,
            "raw": {
                "alone_ms": [pair.alone.p99_ms for pair in pairs],
                "beside_ms": [pair.beside.p99_ms for pair in pairs],
            },
        },
        {
            "name": "processor time of one analysis on the server",
            "value": server_seconds / analyses,
            "unit": "s",
            "peer": f"{own_seconds / analyses:.2g} s of its own process,"
            f" {analyses:.0f} analyses in {PAIRS * SECONDS_A_RUN} s",
            "limit": "none",
            "met": True,
        },
    ]


def _both(pairs: Sequence[Pair], figure: str) -> str:
    alone, beside = (
        statistics.median(getattr(side, figure) for side in sides)
        for sides in ([pair.alone for pair in pairs], [pair.beside for pair in pairs])
    )
    return f"alone {alone:.3g} ms, beside it {beside:.3g} ms"
