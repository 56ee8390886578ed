"""The table of what was done and what it broke, as text and for ``docs/reliability.md``."""

import json
import os
import platform
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from statistics import median
from typing import Any

from faults import soak_figures

ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "reliability.md"
RAW = ROOT / "docs" / "reliability.json"
#: What ``make soak`` measured.
SOAK = ROOT / "docs" / "soak.json"
#: What is promised and on what it rests, written by hand; the tables take the place of its marks.
TEXT = Path(__file__).with_name("reliability.md")

INVARIANTS = ("I1", "I2", "I3", "I4", "I5", "I6")
KEPT = ("seed", "kind", "row", "point", "recovery_seconds", "slots", "violations")
HEAD = ("fault", "faults", "slots", *INVARIANTS, "recovery, median", "worst")

Result = Mapping[str, Any]
Line = tuple[str, ...]


def lines(results: Sequence[Result], by: str) -> list[Line]:
    """Return a line for each value of the field ``by``, with the sums of its faults, and one for all."""
    groups: dict[str, list[Result]] = {}
    for result in results:
        groups.setdefault(result[by], []).append(result)
    return [*(_line(name, group) for name, group in sorted(groups.items())), _line("all", results)]


def _line(name: str, group: Sequence[Result]) -> Line:
    broken = Counter(v["invariant"] for result in group for v in result["violations"])
    times = [r["recovery_seconds"] for r in group if r["recovery_seconds"] is not None]
    return (
        name,
        str(len(group)),
        str(sum(result["slots"] for result in group)),
        *(str(broken[invariant]) for invariant in INVARIANTS),
        f"{median(times):.1f} s" if times else "never",
        f"{max(times):.1f} s" if times else "never",
    )


def points(results: Iterable[Result]) -> list[Line]:
    """Return how often each named point was hit."""
    count = Counter(result["point"] for result in results if result["point"])
    return [(f"`{point}`", str(number)) for point, number in sorted(count.items())]


def violations(results: Iterable[Result]) -> list[str]:
    """Return a line of Markdown for each broken promise, with the seed that shows it again."""
    return [
        f"- {violation['invariant']}, seed {result['seed']}, {result['kind']}: {violation['what']}"
        for result in results
        for violation in result["violations"]
    ] or ["None."]


def as_text(head: Line, body: Sequence[Line]) -> str:
    """Return a table for a terminal."""
    rows = [head, *body]
    widths = [max(len(row[column]) for row in rows) for column in range(len(head))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )


def as_markdown(head: Line, body: Sequence[Line]) -> str:
    """Return a table in Markdown."""
    rows = [head, ("---",) * len(head), *body]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def keep(groups: Mapping[str, Sequence[Result]], seed: int, minutes: float) -> None:
    """Put what was measured into ``docs/reliability.json``, in the place of what stood there before."""
    kept = _kept()
    for name, results in groups.items():
        kept[name] = {
            "taken": taken(f"{len(results):,} faults", seed, minutes),
            "results": [{key: result[key] for key in KEPT} for result in results],
        }
    lines_of = [
        f"{json.dumps(name)}: {{\n"
        f'"taken": {json.dumps(group["taken"])},\n"results": [\n'
        + ",\n".join(json.dumps(result) for result in group["results"])
        + "\n]}"
        for name, group in kept.items()
    ]
    RAW.write_text("{\n" + ",\n".join(lines_of) + "\n}\n")


def _kept() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(RAW.read_text()) if RAW.exists() else {}
    return found


def write() -> None:
    """Write ``docs/reliability.md`` of what is kept; ``matrix`` is the group of the product itself."""
    kept = _kept()
    matrix = kept.pop("matrix", {"taken": "Not run yet.", "results": []})
    results = matrix["results"]
    others = [_line(name, group["results"]) for name, group in kept.items()]
    parts = {
        "taken": matrix["taken"],
        "rows": as_markdown(HEAD, lines(results, "row")),
        "kinds": as_markdown(HEAD, lines(results, "kind")),
        "points": as_markdown(("point", "times"), points(results)),
        "violations": "\n".join(violations(results)),
        "soak": soak_figures.section(json.loads(SOAK.read_text()) if SOAK.exists() else {}),
        "others": as_markdown(HEAD, others),
        "others taken": "\n".join(f"- {name}: {group['taken']}" for name, group in kept.items()),
    }
    text = TEXT.read_text()
    for name, part in parts.items():
        text = text.replace(f"<!-- {name} -->", part)
    DOCUMENT.write_text(text)


def taken(what: str, seed: int, minutes: float) -> str:
    """Say what was measured for how long, when, of which commit, on what machine."""
    memory_gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1024**3
    described = subprocess.run(
        ["git", "describe", "--always", "--dirty=+"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    return (
        f"{what} of seed {seed} in {minutes:.0f} minutes, taken"
        f" {datetime.now(UTC):%Y-%m-%d %H:%M} UTC at commit {described.stdout.strip() or 'unknown'}"
        f" on {os.cpu_count()} cores, {memory_gib:.0f} GiB, {platform.system()}"
        f" {platform.machine()}, Python {platform.python_version()}, load {os.getloadavg()[2]:.0f}."
    )
