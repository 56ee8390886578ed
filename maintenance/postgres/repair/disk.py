"""Whether the disk has room for the copy that a repair writes beside what stands there."""

import shutil
from dataclasses import dataclass

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.wording import bytes_in_words
from maintenance.postgres.connection import query
from maintenance.postgres.settings.machine import runs_here

#: A copy takes at most this part of what is free: the site goes on writing meanwhile.
DISK_SHARE_RATIO = 0.5


@dataclass(frozen=True, slots=True)
class Disk:
    """Free bytes where a relation lies, ``None`` where nobody can tell, and the database's size."""

    free_bytes: int | None
    database_bytes: int


def disk_of(conn: Connection, oid: int) -> Disk:
    """Look at the disk of a table or index, where the server provably runs on this machine."""
    row = query(conn, "relation_disk", {"oid": oid})[0]
    directory = row["tablespace_directory"] or row["data_directory"]
    here = directory and runs_here(
        conn.info.host or "", conn.info.backend_pid, row["backend_started_at"]
    )
    return Disk(_free_bytes(directory) if here else None, row["database_bytes"])


def _free_bytes(directory: str) -> int | None:
    try:
        return shutil.disk_usage(directory).free
    except OSError:
        return None  # not ours to look into, or another view of the file system


def refusal_for_disk(disk: Disk, needed_bytes: int, size_limit_bytes: int | None) -> str:
    """Return why the disk is too small for a copy; empty where it suffices or nobody knows."""
    needs = f"it needs {bytes_in_words(needed_bytes)} while it is at work (a copy and its WAL)"
    if disk.free_bytes is not None and needed_bytes > disk.free_bytes * DISK_SHARE_RATIO:
        return f"{needs}, more than half of the {bytes_in_words(disk.free_bytes)} that are free"
    if size_limit_bytes is not None and disk.database_bytes + needed_bytes > size_limit_bytes:
        return (
            f"{needs}, and the database of {bytes_in_words(disk.database_bytes)} would pass its limit"
            f" of {bytes_in_words(size_limit_bytes)}"
        )
    return ""
