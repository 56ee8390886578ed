"""The performance log, read once: across runs, rotation, copies and compression.

A file is known by a hash of its first line, which has a time in it, and by its inode: one that was
renamed, copied or compressed is read on, and a new one under the old name from its start. Only whole
lines are taken, so that nothing of the log itself has to be kept between runs.
"""

import gzip
import hashlib
import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, BinaryIO

from maintenance.conf import resolve_secret
from maintenance.core.errors import MissingRights, Skipped

#: One run reads no more; the profiler writes as much in a day where every process is at its limit.
BUDGET_BYTES = 64 * 1024**2
#: A longer line is none of the profiler's.
MAXIMUM_LINE_BYTES = 64 * 1024
#: Rotated files that are remembered and looked at, the newest ones.
KEPT_FILES = 60

_STATE_VERSION = 1


@dataclass(slots=True)
class LogReading:
    """What one run read: counts of it, and where the next one reads on.

    ``left_bytes`` were there and not read, for the limit of one run; of a compressed file they are
    those of the file. ``lost_files`` went away before they were read to their end. ``is_first`` says
    that no position was known.
    """

    is_first: bool
    read_bytes: int = 0
    left_bytes: int = 0
    lines: int = 0
    malformed_lines: int = 0
    other_lines: int = 0
    lost_files: int = 0
    positions: list[list[Any]] = field(default_factory=list)

    @property
    def state(self) -> Mapping[str, Any]:
        """What the next run needs, in plain JSON."""
        return {"version": _STATE_VERSION, "files": self.positions[-KEPT_FILES:]}


class PerformanceLog:
    """A log and its rotated neighbours: ``name``, ``name.1``, ``name.2.gz``, ``name-20260301``."""

    def __init__(self, path: str, *, budget_bytes: int = BUDGET_BYTES) -> None:
        self._path = Path(path)
        self._budget_bytes = budget_bytes

    def profiles(self, state: Mapping[str, Any], reading: LogReading) -> Iterator[dict[str, Any]]:
        """Yield what the profiler wrote since the run that left ``state``, oldest file first.

        ``reading`` is filled on the way and complete at the end. Raises :class:`MissingRights`
        where a file may not be read.
        """
        known = {
            (head, inode): (offset, is_open)
            for head, inode, offset, is_open in state.get("files", ())
        }
        by_head = {head: (inode, *place) for (head, inode), place in known.items()}
        files = self._files()
        starts = self._first_starts(files) if reading.is_first else {}
        met: set[str] = set()
        # A file that kept its inode has the first claim to a position; a copy has the second.
        identities = {path: self._identity(path) for path in files}
        taken = {identity for identity in identities.values() if identity in known}
        for path in files:
            identity = identities[path]
            if identity is None:
                continue
            head, inode = identity
            met.add(head)
            offset = starts.get(path, 0)
            if identity in known:
                offset = known[identity][0]
            elif head in by_head and (head, by_head[head][0]) not in taken:
                offset = by_head[head][1]
            yield from self._read(path, head, inode, offset, reading)
        reading.lost_files = sum(
            is_open and head not in met for head, (_, _, is_open) in by_head.items()
        )

    def _files(self) -> list[Path]:
        """Return the log and its rotated neighbours, oldest first. Raises ``MissingRights``."""
        try:
            found = [
                (path.stat().st_mtime, path.name, path)
                for path in self._path.parent.iterdir()
                if path.is_file()
                and (
                    path == self._path
                    or path.name.startswith((f"{self._path.name}.", f"{self._path.name}-"))
                )
            ]
        except OSError as error:
            raise _unreadable(self._path, error) from None
        return [path for _, _, path in sorted(found)[-KEPT_FILES:]]

    def _first_starts(self, files: list[Path]) -> dict[Path, int]:
        """Return where the first run begins: so far before the end as one run reads."""
        budget = self._budget_bytes
        starts: dict[Path, int] = {}
        for path in reversed(files):
            size = path.stat().st_size
            # How long a compressed file is shows only when it has been read: it is all or none.
            if path.suffix == ".gz":
                starts[path] = 0 if budget > 0 else size * 1000
                budget -= size * 10
                continue
            starts[path] = max(0, size - max(0, budget))
            budget -= size
        return starts

    def _identity(self, path: Path) -> tuple[str, int] | None:
        """Return hash of the first line and inode; ``None`` where there is no whole line yet."""
        try:
            with _opened(path) as file:
                first = file.readline(MAXIMUM_LINE_BYTES)
            inode = path.stat().st_ino
        except (FileNotFoundError, EOFError, gzip.BadGzipFile):
            return None
        except OSError as error:
            raise _unreadable(path, error) from None
        if not first.endswith(b"\n") and len(first) < MAXIMUM_LINE_BYTES:
            return None
        return hashlib.blake2b(first, digest_size=8).hexdigest(), inode

    def _read(
        self, path: Path, head: str, inode: int, offset: int, reading: LogReading
    ) -> Iterator[dict[str, Any]]:
        is_open = True
        try:
            with _opened(path) as file:
                if path.suffix != ".gz" and path.stat().st_size < offset:
                    offset = 0
                file.seek(offset)
                while reading.read_bytes < self._budget_bytes:
                    line = file.readline(MAXIMUM_LINE_BYTES)
                    if not line.endswith(b"\n") and len(line) < MAXIMUM_LINE_BYTES:
                        is_open = bool(line) or path == self._path
                        break
                    offset += len(line)
                    reading.read_bytes += len(line)
                    profile = _parsed(line, reading)
                    if profile is not None:
                        yield profile
                else:
                    reading.left_bytes += max(0, path.stat().st_size - offset)
        except FileNotFoundError:
            return  # rotated away at this moment; its copy is met by the next run
        except (EOFError, gzip.BadGzipFile):
            reading.malformed_lines += (
                1  # a compressed file that is cut off, or still being written
            )
        except OSError as error:
            raise _unreadable(path, error) from None
        reading.positions.append([head, inode, offset, is_open])


def _opened(path: Path) -> BinaryIO:
    if path.suffix == ".gz":
        return gzip.open(path)  # type: ignore[return-value]
    return path.open("rb")


def _unreadable(path: Path, error: OSError) -> MissingRights:
    return MissingRights(f"{path} cannot be read: {(error.strerror or 'unknown error').lower()}.")


def _parsed(line: bytes, reading: LogReading) -> dict[str, Any] | None:
    """Return the profile of a line; whatever a formatter writes before it is passed over."""
    reading.lines += 1
    start = line.find(b"{")
    if start < 0 or b'"query-profile"' not in line:
        reading.other_lines += 1
        return None
    try:
        body = json.loads(line[start:])
    except (ValueError, RecursionError):
        reading.malformed_lines += 1
        return None
    if not isinstance(body, dict) or body.get("event") != "query-profile":
        reading.other_lines += 1
        return None
    if body.get("version") != 1 or not isinstance(body.get("groups"), list):
        reading.malformed_lines += 1
        return None
    return body


def path_of_log(configured: str, logger_names: tuple[str, ...]) -> str:
    """Return the path as configured, or of the file that this process logs to itself.

    Raises :class:`Skipped` where there is neither, and ``ConfigurationError`` for a reference
    (``"env:NAME"``) to what is not there.
    """
    if configured:
        return resolve_secret(configured)
    for name in logger_names:
        for handler in logging.getLogger(name).handlers:
            path = getattr(handler, "baseFilename", "")
            if path:
                return str(path)
    raise Skipped(
        "not configured: no performance_log is configured, and the loggers of the query profiler"
        " write to no file of this process"
    )
