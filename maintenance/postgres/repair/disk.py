"""Whether the disk has room for the copy that a repair writes beside what stands there."""

import shutil
from dataclasses import dataclass
from pathlib import Path

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.findings import Finding, unavailable
from maintenance.core.wording import bytes_in_words
from maintenance.postgres.settings.machine import runs_here
from maintenance.postgres.sql_files import query

#: A copy takes at most this part of what is free: the site goes on writing meanwhile.
DISK_SHARE_RATIO = 0.5
#: Of what a repair needs this part is the copy, the rest its WAL, which has every page of it.
COPY_RATIO = 0.5


@dataclass(frozen=True, slots=True)
class Disk:
    """Free bytes where a relation lies, ``None`` where nobody can tell, and the database's size.

    ``wal_free_bytes`` are those of the WAL where it lies on another disk, ``None`` where it does not.
    """

    free_bytes: int | None
    database_bytes: int
    wal_free_bytes: int | None = None


def disk_of(conn: Connection, oid: int) -> Disk:
    """Look at the disks of a table or index, where the server provably runs on this machine."""
    row = query(conn, "relation_disk", {"oid": oid})[0]
    data_directory = row["data_directory"]
    directory = row["tablespace_directory"] or data_directory
    here = directory and runs_here(
        conn.info.host or "", conn.info.backend_pid, row["backend_started_at"]
    )
    if not here:
        return Disk(None, row["database_bytes"])
    free_bytes, wal_free_bytes = _free_bytes(directory), None
    if data_directory and _lies_elsewhere(wal := f"{data_directory}/pg_wal", directory):
        wal_free_bytes = _free_bytes(wal)
    return Disk(free_bytes, row["database_bytes"], wal_free_bytes)


def _free_bytes(directory: str) -> int | None:
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return None  # not ours to look into, or another view of the file system


def _lies_elsewhere(one: str, other: str) -> bool:
    """Tell whether a directory, which may be a link, provably lies on another file system."""
    try:
        return Path(one).stat().st_dev != Path(other).stat().st_dev
    except OSError:
        return False


def refusal_for_disk(disk: Disk, needed_bytes: int, size_limit_bytes: int | None) -> str:
    """Return why the disks are too small for a copy; empty where they suffice or nobody knows.

    ``needed_bytes`` are the copy and its WAL together.
    """
    copy_bytes = int(needed_bytes * COPY_RATIO)
    needs = f"it needs {bytes_in_words(needed_bytes)} while it is at work (a copy and its WAL)"
    if disk.wal_free_bytes is None:
        too_full = _too_full(disk.free_bytes, needed_bytes, needs)
    else:
        copy = f"it needs {bytes_in_words(copy_bytes)} for a copy"
        wal = f"it writes {bytes_in_words(needed_bytes - copy_bytes)} of WAL to another disk"
        too_full = _too_full(disk.free_bytes, copy_bytes, copy) or _too_full(
            disk.wal_free_bytes, needed_bytes - copy_bytes, wal
        )
    if too_full:
        return too_full
    if size_limit_bytes is not None and disk.database_bytes + needed_bytes > size_limit_bytes:
        return (
            f"{needs}, and the database of {bytes_in_words(disk.database_bytes)} would pass its limit"
            f" of {bytes_in_words(size_limit_bytes)}"
        )
    return ""


def _too_full(free_bytes: int | None, needed_bytes: int, needs: str) -> str:
    if free_bytes is None or needed_bytes <= free_bytes * DISK_SHARE_RATIO:
        return ""
    return f"{needs}, more than half of the {bytes_in_words(free_bytes)} that are free"


def unknown_disk(code: str, disk: Disk, size_limit_bytes: int | None) -> tuple[Finding, ...]:
    """Say that nobody could tell whether the disk has room, where that is so."""
    if disk.free_bytes is not None or size_limit_bytes is not None:
        return ()
    needs = (
        "size_limit_bytes of this target, where its server runs on another machine; until then a copy is"
        " begun whatever the disk has room for"
    )
    return (unavailable(code, "disk", "how much disk is free for a copy", needs),)
