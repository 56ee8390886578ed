"""Reviewing an access log of 2,000,000 lines, beside goaccess (Debian: goaccess) on the same file.

The combined format with request time, as a site of some thousand visitors writes it. Each reads the
file in a process of its own on one core, in alternating runs; compared are the lines a second of
processor time, which other work on the machine disturbs less than it does the clock.
"""

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

LINES = int(os.environ.get("BENCH_ACCESS_LOG_LINES", "2000000"))
PAIRS = 3
SPEED_LIMIT = 0.8
MEMORY_LIMIT_MB = 200.0

FORMAT = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent'
    ' "$http_referer" "$http_user_agent" $request_time'
)
GOACCESS = (
    "goaccess",
    "-",
    "--no-global-config",
    "--no-progress",
    '--log-format=%h %^[%d:%t %^] "%r" %s %b "%R" "%u" %T',
    "--date-format=%d/%b/%Y",
    "--time-format=%T",
)

_AGENTS = (
    "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 Chrome/126.0.0.0 Safari/537.36",
    "Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)",
)
_VISITORS = 5_000


@dataclass(frozen=True, slots=True)
class Cost:
    """What one process took."""

    processor_seconds: float
    peak_bytes: int
    output: str


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, peer, limit, met."""
    with tempfile.TemporaryDirectory(prefix="bench-access-log-") as folder:
        path = Path(folder) / "access.log"
        write_log(path, LINES)
        ours, theirs = [], []
        has_peer = shutil.which("goaccess") is not None
        for _ in range(PAIRS):
            ours.append(_ours(path))
            if has_peer:
                theirs.append(_goaccess(path))
    return list(_rows(ours, theirs))


def _rows(ours: list[Cost], theirs: list[Cost]) -> Iterator[dict[str, Any]]:
    rate = LINES / statistics.median(cost.processor_seconds for cost in ours)
    if theirs:
        peer_rate = LINES / statistics.median(cost.processor_seconds for cost in theirs)
        peer_mb = max(cost.peak_bytes for cost in theirs) / 1e6
        yield {
            "name": f"lines a second of processor time on {LINES:,} lines, against goaccess",
            "value": rate / peer_rate,
            "unit": "times",
            "peer": f"ours {rate:,.0f}, goaccess {peer_rate:,.0f} ({peer_mb:,.0f} MB)",
            "limit": f"at least {SPEED_LIMIT:g}",
            "met": rate / peer_rate >= SPEED_LIMIT,
            "raw": {
                "ours_seconds": [cost.processor_seconds for cost in ours],
                "goaccess_seconds": [cost.processor_seconds for cost in theirs],
            },
        }
    yield {
        "name": f"lines a second of processor time on {LINES:,} lines",
        "value": rate,
        "unit": "lines/s",
        "peer": "" if theirs else "goaccess is not installed",
        "limit": "none",
        "met": True,
    }
    peak_mb = max(cost.peak_bytes for cost in ours) / 1e6
    yield {
        "name": "peak memory of its process",
        "value": peak_mb,
        "unit": "MB",
        "peer": ours[0].output.strip(),
        "limit": f"under {MEMORY_LIMIT_MB:g}",
        "met": peak_mb < MEMORY_LIMIT_MB,
    }


def write_log(path: Path, lines: int) -> None:
    """Write a day's log: few things are asked for often, and many now and then."""
    chance = random.Random(7)
    visitors = [".".join(str(chance.randrange(1, 255)) for _ in range(4)) for _ in range(_VISITORS)]
    with path.open("w") as file:
        for number in range(lines):
            second = number * 86_400 // lines
            clock = f"{second // 3600:02}:{second // 60 % 60:02}:{second % 60:02}"
            status = chance.choices((200, 304, 302, 404, 500), (850, 60, 50, 38, 2))[0]
            file.write(
                f"{chance.choice(visitors)} - - [25/Nov/2026:{clock} +0000]"
                f' "GET {_path(chance)} HTTP/1.1" {status} {chance.randrange(200, 90_000)}'
                f' "https://example.org/" "{chance.choice(_AGENTS)}"'
                f" {chance.lognormvariate(-2.5, 0.8):.3f}\n"
            )


def _path(chance: random.Random) -> str:
    thing = int(chance.paretovariate(0.6)) % 50_000
    return chance.choice(
        (
            "/",
            f"/book/{thing}",
            f"/book/{thing}/reviews?page={thing % 7}",
            f"/user/reader{thing % 2_000}/books",
            f"/static/js/app.{thing % 20:08x}.js",
            f"/search?q={thing}",
            "/api/updates/notifications",
        )
    )


def _ours(path: Path) -> Cost:
    return _cost([sys.executable, "-m", "bench.access_log", str(path)])


def _goaccess(path: Path) -> Cost:
    with path.open("rb") as log:
        return _cost([*GOACCESS, "-o", str(path.with_name("goaccess.json"))], log)


def _cost(command: list[str], stdin: Any = subprocess.DEVNULL) -> Cost:
    core = min(os.sched_getaffinity(0))
    process = subprocess.Popen(
        ["taskset", "-c", str(core), *command], stdin=stdin, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    output = process.stdout.read()
    process.stdout.close()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError(f"{command[0]} ended with {process.returncode}")
    return Cost(usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024, output)


def _review(path: str) -> str:
    from maintenance.conf import LogTarget, Thresholds  # noqa: PLC0415 - part of the cost
    from maintenance.core.job import Job  # noqa: PLC0415
    from maintenance.core.options import NoOptions  # noqa: PLC0415
    from maintenance.web.access_log import review_error_rates  # noqa: PLC0415

    job = Job("bench", LogTarget(path=path, format=FORMAT), NoOptions())
    report = review_error_rates(job, Thresholds(), "UTC")
    if report.facts["requests"] + report.facts["malformed_lines"] != LINES:
        raise RuntimeError(f"{LINES:,} lines were written, but: {json.dumps(report.facts)}")
    return report.summary


if __name__ == "__main__":
    print(_review(sys.argv[1]))
