"""How far the server's log has been read: each byte once, across runs and rotations.

A file is known by a hash of its beginning and not by its name: one that was renamed or copied is
read on, and a new one that took the name of an old one is read from its start. A position is always
the start of a record, so that nothing of the log itself has to be kept between runs.
"""

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, replace
from typing import Any

from maintenance.postgres.queries.server_log_events import LogTally
from maintenance.postgres.queries.server_log_files import LogFile, LogSource, of_format
from maintenance.postgres.queries.server_log_formats import (
    LogFormat,
    MalformedRecord,
    RecordCutter,
    RecordParser,
)

#: One run reads no more. A server that logs every statement writes as much within minutes.
BUDGET_BYTES = 64 * 1024**2
#: The first run reads only the end: whoever waits for it wants today's log.
FIRST_BUDGET_BYTES = 16 * 1024**2
CHUNK_BYTES = 4 * 1024**2

#: The first record of a file has its time in it, which no other file shares.
HEAD_BYTES = 256
#: Files that are remembered: hourly ones of two weeks.
KEPT_FILES = 350

#: The server writes the lines of one record at once. When a file has rested that long (SQL tells
#: its time in whole seconds), its last record is whole.
SETTLED_SECONDS = 2.0

_STATE_VERSION = 1


@dataclass(frozen=True, slots=True)
class Position:
    """Where to read on in a file that begins with ``head_bytes`` bytes of hash ``head``.

    ``is_open`` says that more was there, or is likely to come.
    """

    name: str
    size_bytes: int
    modified_at: float
    head: str
    head_bytes: int
    offset: int
    is_open: bool

    def is_unchanged(self, file: LogFile) -> bool:
        """Whether the file is as it was."""
        return (file.name, file.size_bytes, file.modified_at) == astuple(self)[:3]


@dataclass(frozen=True, slots=True)
class Reading:
    """What one run read.

    ``left_bytes`` are there and were not read, because the run has its limit. ``is_first`` says
    that no position was known, and older log was passed over. ``lost_files`` went away before they
    were read to their end.
    """

    read_bytes: int
    left_bytes: int
    records: int
    malformed_lines: int
    is_first: bool
    lost_files: int
    state: Mapping[str, Any]


def read_log(
    source: LogSource,
    log_format: LogFormat,
    parser: RecordParser,
    tally: LogTally,
    state: Mapping[str, Any],
    *,
    budget_bytes: int = BUDGET_BYTES,
    first_budget_bytes: int = FIRST_BUDGET_BYTES,
) -> Reading:
    """Read on from where ``state`` says, counting into ``tally``.

    The first run begins as far before the end of the log as its budget reaches. Later ones leave
    what is beyond their budget to the next.
    """
    files = [file for file in of_format(source.files(), log_format) if file.size_bytes]
    follows = state.get("version") == _STATE_VERSION and state["format"] == log_format
    since, starts = (
        (float(state["since"]), {}) if follows else _beginning(files, first_budget_bytes)
    )
    known = [Position(*values) for values in state["files"]] if follows else []
    walk = _Walk(source, parser, tally, known, budget_bytes)
    # A line of JSON is a whole record as soon as it ends.
    resting = 0.0 if log_format is LogFormat.JSON else SETTLED_SECONDS
    latest = source.now() - resting
    positions = [
        walk.visit(file, starts.get(file.name, 0), is_settled=file.modified_at <= latest)
        for file in files
        if file.modified_at >= since
    ]
    if positions:
        positions[-1] = replace(positions[-1], is_open=True)
    kept = positions[-KEPT_FILES:]
    if len(kept) < len(positions):
        since = positions[-KEPT_FILES - 1].modified_at + 1e-6
    return Reading(
        read_bytes=walk.read_bytes,
        left_bytes=walk.left_bytes,
        records=walk.records,
        malformed_lines=walk.malformed_lines,
        is_first=not follows,
        lost_files=walk.lost_files(),
        state={
            "version": _STATE_VERSION,
            "format": log_format.value,
            "since": since,
            "files": [list(astuple(position)) for position in kept],
        },
    )


def _beginning(files: Sequence[LogFile], budget_bytes: int) -> tuple[float, dict[str, int]]:
    """Return from which time on files are read at first, and the offset in each of them."""
    since = 0.0
    starts: dict[str, int] = {}
    for file in reversed(files):
        taken = min(file.size_bytes, budget_bytes)
        starts[file.name] = file.size_bytes - taken
        since = file.modified_at
        budget_bytes -= taken
        if not budget_bytes:
            break
    else:
        since = 0.0
    return since, starts


def _hash(head: bytes) -> str:
    return hashlib.blake2b(head, digest_size=8).hexdigest()


class _Walk:
    """One run over the files, oldest first."""

    def __init__(
        self,
        source: LogSource,
        parser: RecordParser,
        tally: LogTally,
        known: Iterable[Position],
        budget_bytes: int,
    ) -> None:
        self._source = source
        self._parser = parser
        self._tally = tally
        self._budget_bytes = budget_bytes
        self._by_name = {position.name: position for position in known}
        self._offsets = {(p.head, p.head_bytes): p.offset for p in self._by_name.values()}
        self._open = {(p.head, p.head_bytes) for p in self._by_name.values() if p.is_open}
        self.read_bytes = self.left_bytes = self.records = self.malformed_lines = 0

    def lost_files(self) -> int:
        """Return how many files with more to read were not met again."""
        return len(self._open)

    def visit(self, file: LogFile, start: int, *, is_settled: bool) -> Position:
        """Read one file from where it was left, a new one from ``start``; return where it ends."""
        before = self._by_name.get(file.name)
        if before is not None and before.is_unchanged(file) and before.offset == file.size_bytes:
            self._open.discard((before.head, before.head_bytes))
            return before
        head = self._source.read(file.name, 0, HEAD_BYTES)
        known = self._known_offset(head, file.size_bytes)
        offset, seen_bytes = self._read(
            file, start if known is None else known, is_settled=is_settled, is_cut=known is None
        )
        key = (_hash(head), len(head))
        self._offsets[key] = offset
        self.left_bytes += file.size_bytes - seen_bytes
        is_open = seen_bytes < file.size_bytes
        return Position(file.name, file.size_bytes, file.modified_at, *key, offset, is_open)

    def _known_offset(self, head: bytes, size_bytes: int) -> int | None:
        """Return how far a file with this beginning was read; it may have been shorter then."""
        for head_bytes in sorted({length for _, length in self._offsets}, reverse=True):
            key = (_hash(head[:head_bytes]), head_bytes)
            if head_bytes <= len(head) and self._offsets.get(key, size_bytes + 1) <= size_bytes:
                self._open.discard(key)
                return self._offsets[key]
        return None

    def _read(
        self, file: LogFile, start: int, *, is_settled: bool, is_cut: bool
    ) -> tuple[int, int]:
        """Read from ``start``, in the middle of a record where it ``is_cut``.

        Return where the first record begins that is not done, and up to where the file was seen.
        """
        cutter = RecordCutter(self._parser.head)
        position = begin = self._next_line(file, start) if is_cut and start else start
        while position < file.size_bytes and self._has_room(position - begin, cutter):
            part = self._part(file, position)
            if not part:
                break
            position += len(part)
            self._count(cutter.feed(part))
        if position >= file.size_bytes and is_settled:
            self._count(cutter.finish())
        self.malformed_lines += 0 if is_cut and start else cutter.stray_lines
        return position - cutter.pending_bytes, position

    def _has_room(self, seen_bytes: int, cutter: RecordCutter) -> bool:
        """Tell whether to read on: a record that was begun is read to its end, however long."""
        is_in_first_record = seen_bytes > 0 and cutter.pending_bytes == seen_bytes
        return self.read_bytes < self._budget_bytes or is_in_first_record

    def _next_line(self, file: LogFile, offset: int) -> int:
        """Return where the next line begins."""
        position = offset - 1
        while position < file.size_bytes:
            part = self._part(file, position)
            newline = part.find(b"\n")
            if newline >= 0:
                return position + newline + 1
            if not part:
                break
            position += len(part)
        return position

    def _part(self, file: LogFile, position: int) -> bytes:
        part = self._source.read(file.name, position, min(CHUNK_BYTES, file.size_bytes - position))
        self.read_bytes += len(part)
        return part

    def _count(self, records: Iterable[bytes]) -> None:
        for record in records:
            self.records += 1
            try:
                entry = self._parser.parse(record)
            except MalformedRecord:
                self.malformed_lines += max(1, record.count(b"\n"))
                continue
            if entry is not None:
                self._tally.add(entry)
