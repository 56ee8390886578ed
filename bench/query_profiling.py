"""What the profiling middleware costs a query, beside django-silk and django-zeal.

One page sends fifty queries to a real server. Sites of their own processes take turns to answer it,
ours with and without the middleware; what counts is the processor time of the process. Every request
is one that is written to the log. The peers come from pip into a folder that goes with the bench;
where they do not install they are left out.
"""

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

from bench.query_profiling_site import QUERIES
from bench.server import postgres_server

RUNS = int(os.environ.get("QUERY_PROFILING_RUNS", "30"))
LIMIT_PERCENT = 3.0
PEERS = {"silk": "django-silk==5.6.0", "zeal": "django-zeal==2.3.0"}
INSTALL_SECONDS = 300
ROOT = Path(__file__).resolve().parents[1]

#: Processor and wall seconds of one request, in each run.
Taken = list[tuple[float, float]]


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, peer, limit, met."""
    with postgres_server() as server, tempfile.TemporaryDirectory(prefix="bench-peers-") as folder:
        installed = _install(Path(folder))
        # The first one makes the tables.
        urls = {name: server.url("postgres") for name in ("ours", *installed)}
        with ExitStack() as stack:
            sites = {
                name: stack.enter_context(_site(name, url, folder)) for name, url in urls.items()
            }
            taken: dict[str, Taken] = {name: [] for name in ("off", "on", *installed)}
            for number in range(RUNS):
                order = list(taken)
                for name in order[number % len(order) :] + order[: number % len(order)]:
                    site = sites["ours" if name in {"on", "off"} else name]
                    taken[name].append(_ask(site, name))
    return _rows(taken)


def _rows(taken: dict[str, Taken]) -> list[dict[str, Any]]:
    added = {
        name: statistics.median(
            (mine[0] - plain[0]) * 1e6 / QUERIES
            for mine, plain in zip(taken[name], taken["off"], strict=True)
        )
        for name in taken
        if name != "off"
    }
    percent = statistics.median(
        100 * (mine[0] - plain[0]) / plain[0]
        for mine, plain in zip(taken["on"], taken["off"], strict=True)
    )
    # Of the quickest one: a request that waits for a busy machine would hide what it costs.
    quickest_seconds = min(wall for _, wall in taken["off"])
    wall_percent = 100 * added["on"] * QUERIES / 1e6 / quickest_seconds
    plain_ms = [1000 * statistics.median(values) for values in zip(*taken["off"], strict=True)]
    peers = ", ".join(
        f"django-{name} {added[name]:,.1f} us" if name in added else f"django-{name} not installed"
        for name in PEERS
    )
    request = f"a request takes {plain_ms[0]:.1f} ms of processor time, {plain_ms[1]:.1f} ms in all"
    return [
        {
            "name": f"processor time added to a query, median of {RUNS} interleaved runs",
            "value": added["on"],
            "unit": "us",
            "peer": peers,
            "limit": "none",
            "met": True,
            "raw": taken,
        },
        {
            "name": f"processor time added to a request of {QUERIES} queries, of its quickest duration",
            "value": wall_percent,
            "unit": "%",
            "peer": f"{request}; {percent:.1f} % of its processor time",
            "limit": f"at most {LIMIT_PERCENT:g}",
            "met": wall_percent <= LIMIT_PERCENT,
        },
    ]


def _install(folder: Path) -> list[str]:
    """Install the peers without Django, which is the project's; return those that are there."""
    found = []
    for name, package in PEERS.items():
        command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
        extras = ["sqlparse", "gprof2dot"] if name == "silk" else []
        done = subprocess.run(
            [*command, "--target", str(folder), package, *extras],
            capture_output=True,
            check=False,
            timeout=INSTALL_SECONDS,
        )
        if done.returncode == 0:
            found.append(name)
    return found


@contextmanager
def _site(name: str, url: str, folder: str) -> Iterator["subprocess.Popen[str]"]:
    process = subprocess.Popen(
        [sys.executable, "-W", "ignore", "-m", "bench.query_profiling_site", name],
        cwd=ROOT,
        env={**os.environ, "DATABASE_URL": url, "PYTHONPATH": os.pathsep.join((folder, str(ROOT)))},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        _ask(process, "on")  # up, and everything imported
        yield process
    finally:
        process.terminate()
        process.wait()
        for stream in (process.stdin, process.stdout):
            _stream(stream).close()


def _ask(process: "subprocess.Popen[str]", state: str) -> tuple[float, float]:
    _stream(process.stdin).write(f"{state}\n")
    _stream(process.stdin).flush()
    answer = _stream(process.stdout).readline()
    if not answer:
        raise RuntimeError("the site of a bench ended before it answered")
    processor, wall = json.loads(answer)
    return processor, wall


def _stream(stream: "IO[str] | None") -> IO[str]:
    assert stream is not None  # it was asked for
    return stream
