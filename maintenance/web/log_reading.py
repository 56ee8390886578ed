"""Reading on in a log: what was written since the last time, each line once, none left out.

Rotation by renaming, by copying and truncating, and compression are told by content: see
:mod:`maintenance.web.log_position`. What is not finished (a last line without its end, a copy in the
making) waits for the next run. Memory: one chunk.
"""

import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import IO, Any

from maintenance.core.errors import TargetUnavailable
from maintenance.web.log_claims import claimed, left_alone
from maintenance.web.log_files import DAMAGED, FileMoved, FoundFile, files_of, opened
from maintenance.web.log_position import (
    HEAD_LENGTHS,
    TAIL_BYTES,
    Consumed,
    Position,
    skipped_to,
)

CHUNK_BYTES = 1 << 20
#: A server limits a request's line to some kilobytes: what is longer is no line of a log.
LONGEST_LINE_BYTES = 1 << 20

#: ``(lines, path, offset of the first)``: whole lines.
TakeLines = Callable[[bytes, str, int], None]
_STATE_VERSION = 1
#: No log is rotated as often in the time of a look.
_LOOKS = 10


@dataclass(slots=True)
class Reading:
    """What one run read: ``passed_over`` are rotated files that were too old for the first run,
    ``lost`` those that went away before their end was read, ``damaged`` those that cannot be read
    to their end, ``oversized`` the places of lines without end."""

    read_bytes: int = 0
    read_files: int = 0
    waiting_bytes: int = 0
    is_first: bool = False
    passed_over: int = 0
    lost: list[str] = field(default_factory=list)
    damaged: list[str] = field(default_factory=list)
    oversized: list[tuple[str, int]] = field(default_factory=list)
    state: Mapping[str, Any] = field(default_factory=dict)


def read_on(
    pattern: str,
    state: Mapping[str, Any],
    take: TakeLines,
    *,
    first_run_seconds: float,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
    chunk_bytes: int = CHUNK_BYTES,
) -> Reading:
    """Give every line that ``state`` does not know to ``take``, in the order of the files.

    The first run passes over rotated files that rest for longer than ``first_run_seconds``. Raises
    what :func:`~maintenance.web.log_files.files_of` raises, and what ``take`` and ``progress`` do.
    Costs a look at each file, and a reading of what is new.
    """
    is_first = state.get("version") != _STATE_VERSION
    known = [] if is_first else [Position(**entry) for entry in state["files"]]
    since_ns = time.time_ns() - int(first_run_seconds * 1e9) if is_first else state["since_ns"]
    run = _Run(take, progress, chunk_bytes, since_ns)
    run.reading.is_first = is_first
    run.read(_look(pattern, known))
    run.reading.state = {
        "version": _STATE_VERSION,
        "since_ns": since_ns,
        "files": [position.to_json() for position in run.positions],
    }
    return run.reading


@dataclass(frozen=True, slots=True)
class _Look:
    """The files of a moment, which known content each of them holds, and which are left alone."""

    files: Sequence[FoundFile]
    claims: Mapping[tuple[int, int], Position]
    left: Collection[tuple[int, int]]
    lost: Sequence[str]


def _look(pattern: str, known: Sequence[Position]) -> _Look:
    for _ in range(_LOOKS):
        files = files_of(pattern)
        try:
            claims = claimed(known, files)
            left = left_alone(files, claims, known)
        except FileMoved:
            continue
        live = max(known, key=lambda p: p.modified_ns, default=None)
        is_lost = live is not None and live.offset and live not in claims.values()
        return _Look(files, claims, left, [live.path] if live and is_lost else [])
    raise TargetUnavailable(
        f"{pattern} was rotated again and again while it was looked at. The next run reads on."
    )


class _Run:
    """One pass over the files: finds for each where to read on, and reads."""

    def __init__(
        self,
        take: TakeLines,
        progress: Callable[[int, int], None],
        chunk_bytes: int,
        since_ns: int,
    ) -> None:
        self.reading = Reading()
        self.positions: list[Position] = []
        self._take = take
        self._progress = progress
        self._chunk_bytes = chunk_bytes
        self._since_ns = since_ns
        self._done_bytes = 0
        self._total_bytes = 0

    def read(self, look: _Look) -> None:
        """Read all files, oldest first. One that is rotated meanwhile waits for the next run."""
        self.reading.lost.extend(look.lost)
        self._total_bytes = sum(file.size_bytes for file in look.files)
        for file in look.files:
            claim = look.claims.get(file.identity)
            is_old = file.modified_ns < self._since_ns and file is not look.files[-1]
            try:
                if claim is not None and claim.is_unchanged(file):
                    self.positions.append(claim.moved_to(file))
                elif claim is None and is_old:
                    self._pass_over(file)
                elif file.identity not in look.left:
                    self._read_file(file, claim)
            except FileMoved:
                self.positions += [claim] if claim else []
            self._done_bytes += file.size_bytes
            self._progress(self._done_bytes, self._total_bytes)

    def _pass_over(self, file: FoundFile) -> None:
        """Note a plain file as read: should it be written to again, only that is new."""
        self.reading.passed_over += 1
        with opened(file) as (stream, is_compressed):
            if is_compressed:
                return
            consumed = Consumed(
                file.size_bytes, stream.read(min(HEAD_LENGTHS[-1], file.size_bytes))
            )
            stream.seek(max(0, file.size_bytes - TAIL_BYTES))
            consumed.tail = stream.read(TAIL_BYTES)
        self.positions.append(consumed.position(file))

    def _read_file(self, file: FoundFile, claim: Position | None) -> None:
        with opened(file) as (stream, is_compressed):
            consumed = Consumed() if claim is None else skipped_to(claim, stream)
            if consumed is None:  # truncated in this very moment
                raise FileMoved(file.path)
            stream.seek(consumed.offset)
            before = consumed.offset
            limit = None if is_compressed else file.size_bytes
            self._read_lines(stream, file, consumed, limit)
        self.reading.read_files += consumed.offset > before
        self.reading.read_bytes += consumed.offset - before
        self.positions.append(consumed.position(file))

    def _read_lines(
        self, stream: IO[bytes], file: FoundFile, consumed: Consumed, limit: int | None
    ) -> None:
        rest = b""
        for chunk in self._chunks(stream, file, consumed.offset, limit):
            content = rest + chunk
            end = content.rfind(b"\n") + 1
            rest = content[end:]
            if end:
                self._take(content[:end], file.path, consumed.offset)
                consumed.take(content[:end])
            elif len(rest) > LONGEST_LINE_BYTES:
                self._skip_oversized(file, consumed, rest)
                rest = b""
            read_bytes = min(consumed.offset, file.size_bytes)
            self._progress(self._done_bytes + read_bytes, self._total_bytes)
        is_whole = file.path not in self.reading.damaged
        if limit is None and rest and is_whole:  # a compressed file is written to no more
            self._take(rest + b"\n", file.path, consumed.offset)
            consumed.take(rest)
            rest = b""
        self.reading.waiting_bytes += len(rest)

    def _chunks(
        self, stream: IO[bytes], file: FoundFile, offset: int, limit: int | None
    ) -> Iterator[bytes]:
        """Yield what is there, up to ``limit`` of a file that grows meanwhile."""
        while limit is None or offset < limit:
            wanted = self._chunk_bytes if limit is None else min(self._chunk_bytes, limit - offset)
            try:
                chunk = stream.read(wanted)
            except DAMAGED:
                self.reading.damaged.append(file.path)
                return
            if not chunk:
                return
            offset += len(chunk)
            yield chunk

    def _skip_oversized(self, file: FoundFile, consumed: Consumed, rest: bytes) -> None:
        place = (file.path, consumed.offset)
        if not self.reading.oversized or self.reading.oversized[-1][0] != file.path:
            self.reading.oversized.append(place)
        consumed.take(rest)
