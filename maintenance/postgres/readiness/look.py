"""What a role may do on a server, and how that is set."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.postgres.connection import connect
from maintenance.postgres.sql_files import query, server_major


@dataclass(frozen=True, slots=True)
class ForeignOwner:
    """An owner whose ``tables`` the role may not vacuum; ``example`` is one of them, quoted."""

    owner: str
    is_superuser: bool
    tables: int
    example: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """One look. ``has_maintain`` is ``None`` on servers that have no pg_maintain (before 17).

    ``reads_every_table`` is about those of the database that are there now, the server's own aside;
    ``owns_database`` is whether the role has the rights of ``database_owner``.

    ``clock_ahead_seconds`` is how far the server's clock is ahead of ours, known within
    ``clock_error_seconds``: half of the time that its answer took. Of ``settings`` those are absent
    that the role may not see; ``extensions`` says of each that the server has whether it was created
    in this database; ``denied_functions`` are signatures, by extension.
    """

    role: str
    quoted_role: str
    database: str
    version_number: int
    is_superuser: bool
    has_monitor: bool
    has_read_all_data: bool
    has_maintain: bool | None
    reads_every_table: bool
    owns_database: bool
    database_owner: str
    is_owner_superuser: bool
    may_stop_counting: bool
    may_read_files: bool
    is_standby: bool
    is_encrypted: bool
    clock_ahead_seconds: float
    clock_error_seconds: float
    settings: Mapping[str, str]
    extensions: Mapping[str, bool]
    foreign_owners: tuple[ForeignOwner, ...]
    denied_functions: tuple[tuple[str, str], ...]

    @property
    def major(self) -> int:
        """The server's major version."""
        return self.version_number // 10_000

    @property
    def version(self) -> str:
        """The version as it is said: 17.6."""
        return f"{self.major}.{self.version_number % 10_000}"


def look(target: DatabaseTarget) -> Readiness:
    """Look at one database, by three small queries. Raises as :func:`connect`."""
    with connect(target, purpose="doctor") as conn:
        return look_through(conn)


def look_through(conn: Connection) -> Readiness:
    """Look through an open session."""
    asked = time.time()
    (row,) = query(conn, "readiness")
    answered = time.time()
    major = server_major(conn)
    owners: Sequence[Mapping[str, object]] = query(conn, "readiness_owners")
    return Readiness(
        role=row["role"],
        quoted_role=row["quoted_role"],
        database=row["database"],
        version_number=conn.server_version,
        is_superuser=row["is_superuser"],
        has_monitor=row["has_monitor"],
        has_read_all_data=row["has_read_all_data"],
        has_maintain=row["has_maintain"] if major >= 17 else None,
        reads_every_table=row["reads_every_table"],
        owns_database=row["owns_database"],
        database_owner=row["database_owner"],
        is_owner_superuser=row["is_owner_superuser"],
        may_stop_counting=row["may_stop_counting"] if major >= 15 else row["is_superuser"],
        may_read_files=row["may_read_files"],
        is_standby=row["is_standby"],
        is_encrypted=row["is_encrypted"],
        clock_ahead_seconds=row["now_epoch_seconds"] - (asked + answered) / 2,
        clock_error_seconds=(answered - asked) / 2,
        settings=row["settings"] or {},
        extensions=row["extensions"] or {},
        foreign_owners=tuple(ForeignOwner(**owner) for owner in owners),  # type: ignore[arg-type]
        denied_functions=tuple(
            (denied["extension"], denied["signature"])
            for denied in query(conn, "readiness_functions")
        ),
    )
