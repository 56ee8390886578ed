"""docs/guide-coverage.md names a test for each line of the guide: each has to exist."""

import re
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

from maintenance.management.commands import analyze_db_performance
from maintenance.postgres.analyses import ANALYSES
from maintenance.runbooks import RUNBOOKS
from maintenance.schedules import CHECKLISTS

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "guide-coverage.md"
KINDS = {"works", "measured", "replaced", "corrected"}

#: The guide's sections, and its checklist of queries, word for word. Those of the calendar stand in
#: tests/unit/test_core_schedules.py.
SECTIONS = [
    "Database Optimization",
    "Query Optimization",
    "Caching Strategies",
    "Application Performance",
    "Infrastructure Tuning",
    "Monitoring and Profiling",
    "Key Performance Metrics",
    "Performance Checklist",
    "Common Performance Issues",
]
QUERY_CHECKLIST = [
    "Use select_related() for ForeignKey lookups",
    "Use prefetch_related() for Many-to-Many lookups",
    "Avoid queries in loops",
    "Use only() to fetch specific fields",
    "Use defer() to exclude heavy fields",
    "Add indexes for frequently filtered fields",
    "Use bulk operations (bulk_create, bulk_update)",
    "Use exists() instead of count() for existence checks",
    "Use iterator() for large querysets",
]
CALENDAR = {
    "Daily": ["Monitor slow query log", "Check Celery queue depths", "Review error rates"],
    "Weekly": [
        "Run database performance analysis",
        "Review cache hit ratios",
        "Check for N+1 queries in logs",
        "Monitor disk space usage",
    ],
    "Monthly": [
        "Full performance audit",
        "Review and optimize slow queries",
        "Analyze index usage",
        "VACUUM and ANALYZE database",
        "Review and update caching strategy",
    ],
    "Quarterly": [
        "Load testing",
        "Capacity planning review",
        "Infrastructure scaling assessment",
        "Review and update performance targets",
    ],
}
ANALYSES_OF_THE_GUIDE = {
    *("indexes", "unused-indexes", "bloat", "queries", "long-running", "blocking"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the guide."""

    section: str
    guide: str
    kind: str
    here: str
    tests: tuple[str, ...]


def rows() -> list[Row]:
    """Read the tables of the page."""
    found, section = [], ""
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if line.startswith("## "):
            section = line.removeprefix("## ")
        if not line.startswith("| ") or line.startswith("| Guide "):
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        assert len(cells) == 4, line
        found.append(Row(section, *cells[:3], tuple(re.findall(r"`([^`]+)`", cells[3]))))
    return found


ROWS = rows()


@pytest.fixture(scope="module")
def collected() -> set[str]:
    """The node ids, without their parameters, that pytest finds in the files that the page names."""
    files = sorted({test.partition("::")[0] for row in ROWS for test in row.tests})
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *files],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return {line.partition("[")[0] for line in done.stdout.splitlines() if "::" in line}


def test_every_test_that_a_row_names_is_collected(collected: set[str]) -> None:
    missing = {test: row.guide for row in ROWS for test in row.tests if test not in collected}

    assert missing == {}


def test_a_test_that_vanishes_would_be_missed(collected: set[str]) -> None:
    assert len(collected) > 100
    assert "tests/integration/test_guide_coverage.py::test_that_is_not_there" not in collected


@pytest.mark.parametrize("row", ROWS, ids=[row.guide[:60] for row in ROWS])
def test_a_row_says_what_it_is_and_what_proves_it(row: Row) -> None:
    assert row.kind in KINDS
    assert row.here
    assert row.tests


def test_no_line_stands_there_twice() -> None:
    assert [line for line, n in Counter(row.guide for row in ROWS).items() if n > 1] == []


def test_every_section_and_checklist_line_of_the_guide_has_its_row() -> None:
    lines = {row.guide for row in ROWS}

    assert list(dict.fromkeys(row.section for row in ROWS)) == SECTIONS
    assert {f"[ ] {line}" for line in QUERY_CHECKLIST} <= lines
    assert {f"{name}: [ ] {line}" for name, found in CALENDAR.items() for line in found} <= lines


def test_every_command_of_the_guide_has_its_row() -> None:
    page = " ".join(row.guide for row in ROWS)

    named = set(re.findall(r"--analysis ([a-z -]+)`", page))
    assert {word for words in named for word in words.split()} == ANALYSES_OF_THE_GUIDE
    assert set(ANALYSES) >= ANALYSES_OF_THE_GUIDE
    assert analyze_db_performance.Command.help
    for command in ("health_check", "check_data_integrity", "profile_queries --min-duration 100"):
        assert command in page


def test_what_a_row_runs_exists() -> None:
    here = " ".join(row.here for row in ROWS)
    tasks = {schedule.task for lines in CHECKLISTS.values() for schedule in lines}

    assert set(re.findall(r"maintenance diagnose ([a-z-]+)", here)) == set(RUNBOOKS)
    named = set(
        re.findall(r"`((?:review|report|check|run|trim|assess|vacuum|warm)_[a-z_]+)`", here)
    )
    assert named - {"check_data_integrity"} <= tasks | {"vacuum_full"}
