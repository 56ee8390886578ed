"""What the site's query profiler wrote in the last week: one view asks once for each book."""

import hashlib
import json
import random
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

from service.sample_site.truth import Decoy, Fault, FaultKind

REQUESTS: Final = 40
BOOKS: Final = 30

REPEATING_LINE: Final = "library/views.py:31"
LISTING_LINE: Final = "library/views.py:29"
#: Two queries of a line are no loop.
HARMLESS_LINE: Final = "library/views.py:58"
SELECT: Final = "SELECT"


def write(path: Path, now: datetime, seed: int) -> None:
    """Write the log, oldest line first; same seed, same log."""
    choose = random.Random(seed)  # noqa: S311 - repeatable, nothing secret
    moments = sorted(now - timedelta(hours=choose.uniform(1, 150)) for _ in range(REQUESTS))
    with path.open("w", encoding="utf-8") as file:
        for moment in moments:
            file.write(json.dumps(_profile(moment, choose)) + "\n")


def _profile(moment: datetime, choose: random.Random) -> dict[str, Any]:
    groups = list(_groups(choose))
    return {
        "event": "query-profile",
        "version": 1,
        "at": moment.isoformat(timespec="microseconds"),
        "kind": "request",
        "name": "GET book/",
        "view": "library.views.book_list",
        "status": 200,
        "took_ms": round(choose.uniform(180, 420), 3),
        "queries": sum(group["calls"] for group in groups),
        "query_ms": round(sum(group["ms"] for group in groups), 3),
        "savepoints": 0,
        "failures": 0,
        "uncounted": 0,
        "sample_ratio": 1.0,
        "lines_left_out": 0,
        "groups_left_out": 0,
        "groups": groups,
    }


def _groups(choose: random.Random) -> Iterator[dict[str, Any]]:
    yield {
        **_group(REPEATING_LINE, "library_user", BOOKS, choose),
        "lookup": {
            "relation": "foreign key",
            "model": "library.Review",
            "field": "user",
            "table": "library_review",
            "is_filtered": False,
        },
        "from": LISTING_LINE,
    }
    yield _group(LISTING_LINE, "library_review", 1, choose, rows=BOOKS)
    yield _group(HARMLESS_LINE, "library_shelf", 2, choose)


def _group(
    line: str, table: str, calls: int, choose: random.Random, *, rows: int = 1
) -> dict[str, Any]:
    each_ms = choose.uniform(0.8, 1.6)
    return {
        "statement": f'{SELECT} FROM "{table}" WHERE "{table}"."id" = ? LIMIT ?',
        "digest": hashlib.blake2b(table.encode(), digest_size=8).hexdigest(),
        "command": SELECT,
        "table": table,
        "model": "",
        "database": "default",
        "at": line,
        "calls": calls,
        "ms": round(each_ms * calls, 3),
        "slowest_ms": round(each_ms * 1.5, 3),
        "rows": rows * calls,
        "most_rows": rows,
        "is_repeated": calls > 2,
    }


def faults() -> tuple[Fault, ...]:
    """Return what the log shows."""
    return (
        Fault(
            FaultKind.REPEATED_QUERY,
            REPEATING_LINE,
            "The template asks each review for its reader.",
            expected={"calls_a_request": BOOKS, "requests": REQUESTS},
        ),
    )


def decoys() -> tuple[Decoy, ...]:
    """Return what only looks like a fault."""
    return (Decoy(FaultKind.REPEATED_QUERY, HARMLESS_LINE, "It asks twice, for two shelves."),)
