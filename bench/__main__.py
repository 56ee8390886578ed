"""Run the benches, print their rows, write docs/benchmarks.md; exit 1 where a row misses its limit."""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from maintenance.core.suggestions import require_known

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "benchmarks.md"
RAW = ROOT / "docs" / "benchmarks.json"

#: Each module has ``rows()``, which returns a mapping a row: ``name``, ``value``, ``unit``,
#: ``peer`` (what it is compared with, may be empty), ``limit`` (in words) and ``met``.
BENCHES = {
    "streams": "bench.stream_trimming",
    "stack": "bench.stack",
    "bloat-accuracy": "bench.bloat_accuracy",
    "analysis-cost": "bench.analysis_cost",
    "production-impact": "bench.production_impact",
    "repairs": "bench.repairs",
}


def machine() -> str:
    """Describe the machine in one line: cores, memory, system, Python."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    return (
        f"{os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()} {platform.machine()},"
        f" Python {platform.python_version()}"
    )


def revision() -> str:
    """Return the commit that was measured, with a plus where the tree has changes."""
    done = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.stdout.strip() or "unknown"


def as_markdown(groups: dict[str, list[dict[str, Any]]], taken_at: str, commit: str) -> str:
    """Render every row as a table per bench."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; the raw values are in [benchmarks.json](benchmarks.json).",
        "",
        f"Taken {taken_at} at commit {commit} on {machine()}.",
    ]
    for bench, rows in groups.items():
        lines += ["", f"## {bench}", "", "| measured | value | limit | met | beside |"]
        lines += ["|---|---|---|---|---|"]
        lines += [
            f"| {row['name']} | {row['value']:,.4g} {row['unit']} | {row['limit']}"
            f" | {'yes' if row['met'] else '**no**'} | {row.get('peer', '')} |"
            for row in rows
        ]
    return "\n".join(lines) + "\n"


def main(arguments: Sequence[str]) -> int:
    """Run the named benches, all by default."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("bench", nargs="*", default=list(BENCHES), help=", ".join(BENCHES))
    names = parser.parse_args(arguments).bench
    for name in names:
        require_known("bench", name, BENCHES)

    previous = json.loads(RAW.read_text())["benches"] if RAW.exists() else {}
    measured = {name: importlib.import_module(BENCHES[name]).rows() for name in names}
    for name, rows in measured.items():
        for row in rows:
            verdict = "met   " if row["met"] else "MISSED"
            print(
                f"{verdict} {name}: {row['name']} = {row['value']:,.4g} {row['unit']}"
                f" (limit {row['limit']})"
            )

    groups = {name: measured.get(name) or previous.get(name, []) for name in BENCHES}
    taken_at = f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC"
    RESULTS.parent.mkdir(exist_ok=True)
    RAW.write_text(
        json.dumps(
            {"taken_at": taken_at, "commit": revision(), "machine": machine(), "benches": groups},
            indent=1,
            default=str,
        )
        + "\n"
    )
    RESULTS.write_text(as_markdown(groups, taken_at, revision()))
    return 0 if all(row["met"] for rows in measured.values() for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
