"""The names of stored reports: ``2026/11/23/weekly-report_table_bloat-default-<run id>.json``."""

import re
from dataclasses import dataclass
from datetime import date, tzinfo
from pathlib import PurePosixPath

from maintenance.core.reports import RunFacts

#: Where this one stands, the other files of the report do, too: it is written last.
COMPLETE_SUFFIX = ".json"
_MANUAL = "manual"
_UNSAFE = re.compile(r"[^A-Za-z0-9_.]")
_UNSAFE_IN_RUN_ID = re.compile(r"[^A-Za-z0-9_-]")
_PART_LENGTH = 60  # four parts and a suffix stay below the 255 bytes of most file systems


@dataclass(frozen=True, slots=True)
class ReportFile:
    """A stored report as its name tells it; ``day`` is in the time zone of the store.

    ``task`` is without the ``maintenance.`` in front. Names are file-safe here: any character of a
    target but a letter, digit, dot or underscore reads as an underscore.
    """

    name: str
    day: date
    checklist: str
    task: str
    target: str
    run_id: str


def file_safe(text: str) -> str:
    """Return ``text`` as a part of a file name. The hyphen is left to stand between parts."""
    return _UNSAFE.sub("_", text)[:_PART_LENGTH].lstrip(".") or "_"


def short_task(task: str) -> str:
    """Return a task's name as files have it."""
    return file_safe(task.removeprefix("maintenance."))


def stem_of(run: RunFacts, checklist: str, timezone: tzinfo) -> str:
    """Return folder and name, without suffix, of a run's report, dated by the end of the run."""
    moment = (run.finished_at or run.started_at or run.queued_at).astimezone(timezone)
    parts = (
        file_safe(checklist) if checklist else _MANUAL,
        short_task(run.task),
        file_safe(run.target),
        _UNSAFE_IN_RUN_ID.sub("_", run.run_id)[:_PART_LENGTH],
    )
    return f"{moment:%Y/%m/%d}/{'-'.join(parts)}"


def report_file(name: str) -> ReportFile | None:
    """Read a file's name back; ``None`` for what is no complete report."""
    path = PurePosixPath(name)
    parts = path.stem.split("-", 3)
    if path.suffix != COMPLETE_SUFFIX or len(parts) != 4:
        return None
    day = date_of(path.parts[-4:-1])
    return ReportFile(name, day, *parts) if day else None


def date_of(folders: tuple[str, ...]) -> date | None:
    """Return the day of three folders ``2026``, ``11``, ``23``; ``None`` where they are no day."""
    try:
        year, month, day = (int(folder) for folder in folders)
        return date(year, month, day)
    except ValueError:
        return None
