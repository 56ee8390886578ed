"""Where the server's log files are read: in a folder of this machine, or through the server."""

import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.errors import MissingRights
from maintenance.postgres.queries.server_log_formats import LogFormat
from maintenance.postgres.sql_files import query

_ENDINGS = {LogFormat.CSV: ".csv", LogFormat.JSON: ".json"}
#: What is in a log folder and is no log that could be read.
_OTHER_ENDINGS = (".csv", ".json", ".gz", ".bz2", ".xz", ".zst", ".lz4", ".zip")


@dataclass(frozen=True, slots=True)
class LogFile:
    """A file as it was found; ``modified_at`` is seconds since the epoch."""

    name: str
    size_bytes: int
    modified_at: float


class LogSource(Protocol):
    """Files that can be listed and read in part."""

    def files(self) -> list[LogFile]:
        """Return every file."""
        ...

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Return what stands there: fewer bytes at the end, none where the file is gone."""
        ...

    def now(self) -> float:
        """Return the time by the clock that stamps the files."""
        ...


def of_format(files: Iterable[LogFile], log_format: LogFormat) -> list[LogFile]:
    """Return the files of one format, oldest first. The plain one may have any ending."""

    def belongs(name: str) -> bool:
        kept = name.rstrip("0123456789").removesuffix(".") if name[-1:].isdigit() else name
        ending = _ENDINGS.get(log_format)
        return kept.endswith(ending) if ending else not kept.endswith(_OTHER_ENDINGS)

    return sorted(
        (file for file in files if belongs(file.name)), key=lambda f: (f.modified_at, f.name)
    )


class FolderLog:
    """A folder of this machine, or a pattern for the files in it (``/var/log/pg/site-*.log``)."""

    def __init__(self, location: str) -> None:
        path = Path(location)
        is_pattern = any(sign in path.name for sign in "*?[")
        self._folder = path.parent if is_pattern else path
        self._pattern = path.name if is_pattern else "*"

    def files(self) -> list[LogFile]:
        """Return every regular file. Raises :class:`MissingRights` where there is no way in."""
        found = []
        try:
            paths = [path for path in self._folder.iterdir() if path.match(self._pattern)]
        except OSError as error:
            raise MissingRights(_cannot_read(self._folder, error)) from None
        for path in paths:
            try:
                status = path.stat()
            except FileNotFoundError:
                continue  # rotated away at this moment
            if path.is_file() and not path.name.startswith("."):
                found.append(LogFile(path.name, status.st_size, status.st_mtime))
        return found

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Return a part of a file. Raises :class:`MissingRights`."""
        try:
            with (self._folder / name).open("rb") as file:
                file.seek(offset)
                return file.read(length)
        except FileNotFoundError:
            return b""
        except OSError as error:
            raise MissingRights(_cannot_read(self._folder / name, error)) from None

    def now(self) -> float:
        """Return this machine's time."""
        return time.time()


def _cannot_read(path: Path, error: OSError) -> str:
    return f"{path} cannot be read: {(error.strerror or 'unknown error').lower()}"


class ServerLog:
    """The server's own ``log_directory``, through its functions for files."""

    def __init__(self, conn: Connection, directory: str) -> None:
        self._conn = conn
        self._directory = directory

    def files(self) -> list[LogFile]:
        """Return every file."""
        return [LogFile(**row) for row in query(self._conn, "server_log_files")]

    def read(self, name: str, offset: int, length: int) -> bytes:
        """Return a part of a file."""
        where = {"path": f"{self._directory}/{name}", "offset": offset, "length": length}
        part = query(self._conn, "server_log_part", where)[0]["part"]
        return b"" if part is None else bytes(part)

    def now(self) -> float:
        """Return the server's time."""
        return float(query(self._conn, "server_clock")[0]["now_at"])
