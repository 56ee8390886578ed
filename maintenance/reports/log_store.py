"""The log store: every run's report as dated files, in a folder or any other Django storage.

``reports/2026/11/23/weekly-report_table_bloat-default-<run id>.json``, and beside it ``.html`` and
``.txt``. The date is that of the run's end in the configured time zone.

What the files promise: the ``.json`` is written last and removed first, so where it stands, all of
them stand, and they are of one piece. Each file appears whole or not at all. The run's id is part
of the name, so one run never overwrites another; saving a run again replaces its own files.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date, tzinfo
from pathlib import PurePosixPath
from zoneinfo import ZoneInfo

from django.core.files.storage import InvalidStorageError, Storage, storages

from maintenance.conf import configuration
from maintenance.core.errors import ConfigurationError, MaintenanceError, UnknownName
from maintenance.core.reports import ReportDocument, RunFacts
from maintenance.core.suggestions import did_you_mean
from maintenance.reports.file_names import (
    COMPLETE_SUFFIX,
    ReportFile,
    date_of,
    file_safe,
    report_file,
    short_task,
    stem_of,
)
from maintenance.reports.formats import FORMATS
from maintenance.reports.json_format import parse_json
from maintenance.reports.log_line import JsonLineFormatter, log_line
from maintenance.reports.publication import in_timezone, of_document
from maintenance.reports.whole_files import LogStoreUnavailable, WholeFiles

__all__ = [
    "JsonLineFormatter",
    "LogStore",
    "LogStoreUnavailable",
    "ReportFile",
    "StoredFile",
    "UnreadableReport",
    "configured_store",
    "log_line",
]

#: In the order of writing: JSON is last, and says that the others are there.
WRITTEN_FORMATS = ("html", "text", "json")


class UnreadableReport(MaintenanceError):
    """A stored file is no report that this program can read."""


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file that was written: its name in the storage, its format, its size."""

    name: str
    format: str
    size_bytes: int


class LogStore:
    """Reports below ``prefix`` in ``storage``, dated in ``timezone``.

    Each method raises :class:`LogStoreUnavailable` where the storage is full or down.
    """

    def __init__(self, storage: Storage, prefix: str, timezone: tzinfo) -> None:
        self._files = WholeFiles(storage)
        self._prefix = prefix.strip("/")
        self._timezone = timezone

    def names_of(self, run: RunFacts, checklist: str) -> list[str]:
        """Return the names that the files of a run have, or will have, in the order of writing."""
        stem = self._below(stem_of(run, checklist, self._timezone))
        return [stem + FORMATS[format_].suffix for format_ in WRITTEN_FORMATS]

    def save(
        self, document: ReportDocument, checklist: str, previous: ReportDocument | None = None
    ) -> list[StoredFile]:
        """Write the report of one run in each format and return what was written, JSON last.

        Pages say what changed since the ``previous`` report of the same task, where it is given.
        ``checklist`` is ``daily``, ``weekly``, ``monthly`` or ``quarterly``; a run that belongs to
        none is filed under ``manual``. What a failed save wrote is removed again where possible.
        """
        names = self.names_of(document.run, checklist)
        publication = of_document(in_timezone(document, self._timezone), previous)
        contents = [FORMATS[format_].render(publication).encode() for format_ in WRITTEN_FORMATS]
        self._files.delete_alone(names[-1])
        written: list[StoredFile] = []
        try:
            for name, format_, content in zip(names, WRITTEN_FORMATS, contents, strict=True):
                self._files.write(name, content)
                written.append(StoredFile(name, format_, len(content)))
        except LogStoreUnavailable as error:
            self._take_back(names[: len(written) + 1], error)
            raise
        return written

    def _take_back(self, begun: Sequence[str], error: LogStoreUnavailable) -> None:
        try:
            self.delete(begun)
        except LogStoreUnavailable:
            error.left_over = tuple(begun)

    def read(self, name: str) -> ReportDocument:
        """Return the document of a stored report; ``name`` may end in any of its suffixes.

        Raises ``UnknownName`` where there is none, :class:`UnreadableReport` for a file that is
        no report or was written under another schema version.
        """
        path = _complete_name(name)
        try:
            text = self._files.read(path)
        except (FileNotFoundError, NotADirectoryError):
            raise UnknownName(self._no_report(path)) from None
        try:
            return parse_json(text.decode("utf-8"))
        except ValueError as error:
            raise UnreadableReport(f"{path} cannot be read: {error}") from error

    def _no_report(self, path: str) -> str:
        near = [file.name for file in self._in_folder(str(PurePosixPath(path).parent))]
        advice = did_you_mean(path, near) if near else "List what there is by task, target or date."
        return f'There is no report "{path}" in the log store. {advice}'

    def find(
        self,
        *,
        task: str = "",
        target: str = "",
        checklist: str = "",
        since: date | None = None,
        until: date | None = None,
        limit: int | None = None,
    ) -> list[ReportFile]:
        """Return complete reports, newest first; empty filters let all pass.

        ``since`` and ``until`` are days, both included. Asks the storage for one listing a day, and
        for the time of each file only on days from which more than one is wanted.
        """
        wanted = {
            "task": short_task(task) if task else "",
            "target": file_safe(target) if target else "",
            "checklist": file_safe(checklist) if checklist else "",
        }
        found: list[ReportFile] = []
        for folder in self._days(since, until):
            found += self._newest_first(
                file
                for file in self._in_folder(folder)
                if all(getattr(file, name) == value for name, value in wanted.items() if value)
            )
            if limit is not None and len(found) >= limit:
                return found[:limit]
        return found

    def delete(self, names: Iterable[str]) -> None:
        """Remove files, those of JSON first, so that no report looks complete that is not."""
        known = list(names)
        for is_complete in (True, False):
            self._files.delete_all(
                [name for name in known if name.endswith(COMPLETE_SUFFIX) is is_complete]
            )

    def _below(self, *parts: str) -> str:
        return "/".join(part for part in (self._prefix, *parts) if part)

    def _days(self, since: date | None, until: date | None) -> Iterator[str]:
        """Yield the folders of days that fit, newest first, opening only the years that can."""
        for year in self._numbers():
            if (since and int(year) < since.year) or (until and int(year) > until.year):
                continue
            for month in self._numbers(year):
                for day in self._numbers(year, month):
                    when = date_of((year, month, day))
                    if when and (not since or when >= since) and (not until or when <= until):
                        yield self._below(year, month, day)

    def _numbers(self, *parts: str) -> Sequence[str]:
        folders, _ = self._files.listing(self._below(*parts))
        return sorted((name for name in folders if name.isdecimal()), reverse=True)

    def _in_folder(self, folder: str) -> list[ReportFile]:
        _, names = self._files.listing(folder)
        files = (report_file(f"{folder}/{name}") for name in sorted(names))
        return [file for file in files if file is not None]

    def _newest_first(self, files: Iterable[ReportFile]) -> Sequence[ReportFile]:
        fitting = list(files)
        if len(fitting) < 2:
            return fitting
        written_at = {file.name: self._files.written_at(file.name) for file in fitting}
        return sorted(fitting, key=lambda file: written_at[file.name], reverse=True)


def _complete_name(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or not path.name:
        raise UnknownName(f'"{name}" is no name of a report. Give one as the log store lists it.')
    for renderer in FORMATS.values():
        if name.endswith(renderer.suffix):
            return name.removesuffix(renderer.suffix) + COMPLETE_SUFFIX
    return name + COMPLETE_SUFFIX


def configured_store() -> LogStore:
    """Return the log store of the configuration (``reports.storage``, ``reports.prefix``).

    Raises ``ConfigurationError`` where ``settings.STORAGES`` has no such storage.
    """
    config = configuration()
    try:
        storage = storages[config.reports.storage]
    except InvalidStorageError as error:
        known = [alias for alias in storages.backends if alias != "staticfiles"]
        raise ConfigurationError(
            f'reports.storage "{config.reports.storage}" cannot be used: {error}'
            f" Add it to settings.STORAGES. {did_you_mean(config.reports.storage, known)}"
        ) from error
    return LogStore(storage, config.reports.prefix, ZoneInfo(config.timezone))
