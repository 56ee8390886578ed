"""Run the benches, print their rows, write docs/benchmarks.md; exit 1 where a row misses its limit."""

import argparse
import importlib
import json
import os
import platform
import subprocess
import sys
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from maintenance.core.suggestions import require_known

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "docs" / "benchmarks.md"
RAW = ROOT / "docs" / "benchmarks.json"

#: What one bench measured: ``rows``, and ``taken_at``, ``commit`` and ``machine`` as text.
Group = dict[str, Any]

#: Of a row whose limit is a figure of its own: nothing else does the same, or can be told apart.
NO_PEER = "no peer"

#: Each module has ``rows()``, which returns a mapping a row: ``name``, ``value``, ``unit``,
#: ``peer`` (what it is compared with, may be empty), ``limit`` (in words) and ``met``.
BENCHES = {
    "streams": "bench.stream_trimming",
    "schedules": "bench.schedules",
    "trimming-million": "bench.million_streams",
    "stack": "bench.stack",
    "bloat-accuracy": "bench.bloat_accuracy",
    "analysis-cost": "bench.analysis_cost",
    "production-impact": "bench.production_impact",
    "repairs": "bench.repairs",
    "invalidation": "bench.invalidation",
    "warming": "bench.warming",
    "repacking": "bench.repacking",
    "ledger": "bench.ledger",
    "dashboard": "bench.dashboard",
    "access-log": "bench.access_log",
    "images": "bench.images",
    "query-profiling": "bench.query_profiling",
    "forecasts": "bench.forecasts",
    "many-targets": "bench.many_targets",
    "autoscaling": "bench.autoscaling",
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


def as_markdown(groups: Mapping[str, Group]) -> str:
    """Render every row as a table per bench, each with when, where and of what it was taken."""
    lines = [
        "# Benchmarks",
        "",
        "Written by `make bench`; the raw values are in [benchmarks.json](benchmarks.json). Beside a row stands",
        "what it was compared with in the same run, or what it was measured on.",
    ]
    for bench, group in groups.items():
        taken = f"Taken {group['taken_at']} at commit {group['commit']} on {group['machine']}."
        lines += ["", f"## {bench}", "", taken, ""]
        lines += ["| measured | value | limit | met | beside |", "|---|---|---|---|---|"]
        lines += [
            f"| {row['name']} | {row['value']:,.4g} {row['unit']} | {row['limit']}"
            f" | {'yes' if row['met'] else '**no**'} | {row.get('peer') or NO_PEER} |"
            for row in group["rows"]
        ]
    return "\n".join(lines) + "\n"


def measured(name: str) -> Group:
    """Run one bench and print its rows."""
    rows = importlib.import_module(BENCHES[name]).rows()
    for row in rows:
        verdict = "met   " if row["met"] else "MISSED"
        print(
            f"{verdict} {name}: {row['name']} = {row['value']:,.4g} {row['unit']}"
            f" (limit {row['limit']}; beside: {row.get('peer') or NO_PEER})",
            flush=True,
        )
    return {
        "taken_at": f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        "commit": revision(),
        "machine": machine(),
        "rows": rows,
    }


def main(arguments: Sequence[str]) -> int:
    """Run the named benches, all by default."""
    parser = argparse.ArgumentParser(prog="make bench", description=__doc__)
    parser.add_argument("bench", nargs="*", default=list(BENCHES), help=", ".join(BENCHES))
    names = parser.parse_args(arguments).bench
    for name in names:
        require_known("bench", name, BENCHES)

    kept = json.loads(RAW.read_text()) if RAW.exists() else {}
    met = True
    for name in names:
        kept[name] = measured(name)
        met = met and all(row["met"] for row in kept[name]["rows"])
        # After each: a bench that breaks, or is stopped, costs none of those before it.
        groups = {bench: kept[bench] for bench in BENCHES if bench in kept}
        RESULTS.parent.mkdir(exist_ok=True)
        RAW.write_text(json.dumps(groups, indent=1, default=str) + "\n")
        RESULTS.write_text(as_markdown(groups))
    return 0 if met else 1


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
