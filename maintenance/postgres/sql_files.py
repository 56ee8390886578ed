"""The statements of ``sql/``: chosen for the server's version, run on a session, and their rows."""

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.driver import MARKER
from maintenance.postgres.time_budget import require_time_for_a_query

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

RecordT = TypeVar("RecordT", bound="DataclassInstance")

# "... -- if >= 17" at the end of a line keeps that line for these versions only.
_VERSION_PRAGMA = re.compile(r"--\s*if\s*(?P<operator>>=|<)\s*(?P<version>\d+)\s*$")


def server_version(conn: Connection) -> int:
    """Return the server's version as it numbers itself: 180006 is 18.6."""
    return int(conn.server_version)


def server_major(conn: Connection) -> int:
    """Return the server's major version."""
    return server_version(conn) // 10_000


def is_standby(conn: Connection) -> bool:
    """Tell whether the server is in recovery: it can be measured, but not vacuumed."""
    return bool(query(conn, "in_recovery")[0]["in_recovery"])


def query(
    conn: Connection,
    name: str,
    parameters: Mapping[str, Any] | None = None,
    *,
    identifiers: Mapping[str, str] | None = None,
    version: int | None = None,
) -> list[dict[str, Any]]:
    """Run ``sql/<name>.sql`` and return its rows.

    ``parameters`` fill ``%(name)s``; ``identifiers`` fill ``{name}`` as quoted identifiers.
    ``version`` chooses the lines with a version pragma, by default the server's major version.
    Raises :class:`OutOfTime` where the time given by :func:`queries_within` is used up.
    """
    columns, rows = _fetched(conn, name, parameters, identifiers, version)
    return [dict(zip(columns, row, strict=True)) for row in rows]


def query_records(
    conn: Connection,
    name: str,
    record: type[RecordT],
    parameters: Mapping[str, Any] | None = None,
    *,
    convert: Mapping[str, Callable[[Any], Any]] = MappingProxyType({}),
) -> list[RecordT]:
    """Run ``sql/<name>.sql`` and return a ``record`` of each row: a dataclass with its columns.

    ``convert`` says by column what becomes of a value that the record has otherwise. It takes half
    the time of building from :func:`query`, which is felt where there are tens of thousands.
    """
    columns, rows = _fetched(conn, name, parameters, None, None)
    if not rows:
        return []
    # By column, so that each name is looked up once and not in every row.
    values: dict[str, Iterable[Any]] = dict(zip(columns, zip(*rows, strict=True), strict=True))
    for column, function in convert.items():
        values[column] = map(function, values[column])
    return list(map(record, *(values.pop(field.name) for field in fields(record))))


def _fetched(
    conn: Connection,
    name: str,
    parameters: Mapping[str, Any] | None,
    identifiers: Mapping[str, str] | None,
    version: int | None,
) -> tuple[list[str], list[tuple[Any, ...]]]:
    """Return the names of the columns, and the rows."""
    require_time_for_a_query()
    text = load_sql(name, server_major(conn) if version is None else version)
    statement: sql.Composable = sql.SQL(text)
    if identifiers is not None:
        # Beside parameters a % in a name would be read as the place of one.
        percent = "%%" if parameters else "%"
        quoted = {
            key: sql.Identifier(value.replace("%", percent)) for key, value in identifiers.items()
        }
        statement = sql.SQL(text).format(**quoted)
    with conn.cursor() as cursor:
        cursor.execute(statement, dict(parameters) if parameters else None)
        if cursor.description is None:
            return [], []
        return [column.name for column in cursor.description], cursor.fetchall()


@cache
def load_sql(name: str, version: int) -> str:
    """Return the text of ``sql/<name>.sql`` for one version, beginning with :data:`MARKER`.

    A line that ends in ``-- if >= 17`` or ``-- if < 17`` stands only where that holds, so that one
    file serves all servers.
    """
    text = files("maintenance.postgres.sql").joinpath(f"{name}.sql").read_text(encoding="utf-8")
    kept = [line for line in text.splitlines() if _stands(line, version)]
    return f"{MARKER} " + "\n".join(kept).strip()


def _stands(line: str, version: int) -> bool:
    pragma = _VERSION_PRAGMA.search(line)
    if pragma is None:
        return True
    bound = int(pragma["version"])
    return version >= bound if pragma["operator"] == ">=" else version < bound
