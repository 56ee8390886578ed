"""The files of one log: the one that is written to, and those that it was rotated into."""

import bz2
import glob
import gzip
import lzma
import os
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from maintenance.core.errors import MissingRights, TargetUnavailable

#: logrotate(8): access.log.1, access.log-20261125, access.log.2.gz; with "extension .log" the number
#: stands before it: access-20261125.log.gz.
_NUMBERS = r"[.-]\d[\d.T:_-]*"
_ENDINGS = r"(?:\.(?:gz|bz2|xz))?"

_OPENERS: dict[bytes, Callable[[Any], Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ": lzma.LZMAFile,
}
_MAGIC_BYTES = max(map(len, _OPENERS))
#: What a stream of these raises where it is damaged or cut short.
DAMAGED = (EOFError, OSError, lzma.LZMAError, zlib.error)


class FileMoved(Exception):
    """A path leads to another file than a moment ago: the log is being rotated."""


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file as it was found; its times are nanoseconds since the epoch."""

    path: str
    device: int
    inode: int
    size_bytes: int
    modified_ns: int

    @property
    def identity(self) -> tuple[int, int]:
        """What stays when it is renamed."""
        return self.device, self.inode


def files_of(pattern: str) -> list[FoundFile]:
    """Return the log's files, oldest first: what the glob fits, or a file and its rotated ones.

    Looks twice, so that a rotation between two looks at names gives no file two of them. Raises
    :class:`TargetUnavailable` where there is none, :class:`MissingRights` for a closed folder.
    """
    before = _look(pattern)
    for _ in range(10):
        found = _look(pattern)
        if [(f.path, f.inode) for f in found] == [(f.path, f.inode) for f in before]:
            break
        before = found
    if not found:
        _explain(pattern)
    seen: dict[tuple[int, int], FoundFile] = {}
    for file in found:  # a link is another name of the same
        seen.setdefault(file.identity, file)
    return sorted(seen.values(), key=lambda f: (f.modified_ns, f.path))


def _look(pattern: str) -> list[FoundFile]:
    found = []
    for path in sorted(_paths(pattern)):
        try:
            status = os.stat(path)  # noqa: PTH116 - the path is shown as it was written
        except OSError:
            continue  # it has just been rotated away
        if os.path.isfile(path):  # noqa: PTH113
            found.append(
                FoundFile(path, status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
            )
    return found


def _paths(pattern: str) -> list[str]:
    if glob.has_magic(pattern):
        return glob.glob(pattern)  # noqa: PTH207 - an absolute pattern
    path = Path(pattern)
    stem, suffix = re.escape(path.stem), re.escape(path.suffix)
    name = re.compile(
        rf"(?:{re.escape(path.name)}(?:{_NUMBERS})?|{stem}{_NUMBERS}{suffix}){_ENDINGS}"
    )
    try:
        return [str(path.parent / n) for n in os.listdir(path.parent) if name.fullmatch(n)]  # noqa: PTH208
    except PermissionError:
        raise MissingRights(
            f"The folder {path.parent} may not be read by this worker's user. Add the user to the"
            " group that owns the log (adm on Debian), or give it an ACL: setfacl -m u:USER:rx."
        ) from None
    except OSError:
        return []


def _explain(pattern: str) -> None:
    raise TargetUnavailable(
        f"There is no file {pattern} on this worker's machine. Correct the path of this log, or run"
        " a worker where the log lies."
    )


@contextmanager
def opened(file: FoundFile) -> Iterator[tuple[IO[bytes], bool]]:
    """Open the content of a file, and say whether it is compressed.

    Raises :class:`FileMoved`, and :class:`MissingRights`.
    """
    try:
        raw = open(file.path, "rb")  # noqa: PTH123, SIM115 - closed below
    except FileNotFoundError:
        raise FileMoved(file.path) from None
    except PermissionError:
        raise MissingRights(
            f"{file.path} may not be read by this worker's user. Add the user to the group that"
            " owns the log (adm on Debian), or give it an ACL: setfacl -m u:USER:r."
        ) from None
    with raw:
        status = os.fstat(raw.fileno())
        if (status.st_dev, status.st_ino) != file.identity:
            raise FileMoved(file.path)
        start = raw.read(_MAGIC_BYTES)
        raw.seek(0)
        opener = next((o for magic, o in _OPENERS.items() if start.startswith(magic)), None)
        if opener is None:
            yield raw, False
        else:
            with opener(raw) as stream:
                yield stream, True
