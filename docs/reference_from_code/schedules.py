"""The page of schedules: the four checklists as they stand in the code."""

import json
from collections.abc import Iterator

from docs.reference_from_code.markdown import code, page, table
from maintenance.core.scheduling.timetable import cron_in_words
from maintenance.schedules import CHECKLISTS

_INTRODUCTION = """
As `sync_schedules` first writes them, one row for each target; times are in the configured time zone. What an
operator changes in the admin stays changed. Policies, pauses and blackouts: [Schedules](../../schedules.md).
"""


def schedules_page() -> str:
    """Return the page."""
    return page("Schedules", _INTRODUCTION.strip(), *_checklists())


def _checklists() -> Iterator[str]:
    for name, lines in CHECKLISTS.items():
        yield f"## {name}"
        yield table(
            ("task", "when", "cron", "options", "line of the guide"),
            (
                (
                    f"[{each.task}](tasks.md#{each.task})",
                    str(cron_in_words(each.cron)),
                    code(each.cron),
                    code(json.dumps(dict(each.options))) if each.options else "",
                    each.line,
                )
                for each in lines
            ),
        )
