"""The exact mode: whole relations read by the extension pgstattuple, within a time budget."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal

import psycopg2.errors
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.errors import UnknownName
from maintenance.core.suggestions import did_you_mean
from maintenance.postgres.giving_way import GaveWay
from maintenance.postgres.sql_files import query
from maintenance.postgres.time_budget import TimeBudget

#: Where none is named, so many of the largest are read whole; the others are estimated.
LARGEST_RELATIONS = 20

NEEDS_EXTENSION = "CREATE EXTENSION pgstattuple in this database (it reads whole relations)"
NEEDS_EXECUTE = (
    "GRANT pg_stat_scan_tables (or EXECUTE on the functions of pgstattuple) to the maintenance role"
)
NEEDS_TIME = "more time than its budget leaves: name the relation alone, or raise the time limit"

Function = Literal["pgstattuple", "pgstatindex"]


@dataclass(frozen=True, slots=True)
class ExactReader:
    """Reads relations whole until the budget is spent. ``missing`` says why it cannot at all."""

    conn: Connection
    budget: TimeBudget
    normal_limit_seconds: float
    schema: str = ""
    missing: str = ""

    @classmethod
    def open(
        cls, conn: Connection, function: Function, budget_seconds: float, limit_seconds: float
    ) -> "ExactReader":
        """Look for the extension. ``limit_seconds`` is the session's own statement timeout."""
        found = [row for row in query(conn, "pgstattuple_functions") if row["name"] == function]
        missing = ""
        if not found:
            missing = NEEDS_EXTENSION
        elif not found[0]["executable"]:
            missing = NEEDS_EXECUTE
        schema = found[0]["schema"] if found else ""
        return cls(conn, TimeBudget(budget_seconds), limit_seconds, schema, missing)

    def read(
        self, name: Literal["exact_table", "exact_index"], oid: int
    ) -> Mapping[str, Any] | str:
        """Return the row of ``sql/<name>.sql``, or what the reading needs."""
        if self.missing:
            return self.missing
        if self.budget.left_seconds <= 0:
            return NEEDS_TIME
        try:
            with self._limited():
                return query(self.conn, name, {"oid": oid}, identifiers={"schema": self.schema})[0]
        except psycopg2.errors.InsufficientPrivilege:
            return NEEDS_EXECUTE
        except GaveWay as gave_way:
            return gave_way.needs
        except (psycopg2.errors.QueryCanceled, psycopg2.errors.LockNotAvailable):
            return NEEDS_TIME

    @contextmanager
    def _limited(self) -> Iterator[None]:
        self._limit(self.budget.left_seconds)
        try:
            yield
        finally:
            self._limit(self.normal_limit_seconds)

    def _limit(self, seconds: float) -> None:
        milliseconds = max(1, round(seconds * 1000)) if seconds > 0 else 0
        query(self.conn, "statement_time_limit", {"milliseconds": milliseconds})


def named(kind: str, rows: Sequence[dict[str, Any]], names: Sequence[str]) -> list[dict[str, Any]]:
    """Return the relations of these names, with or without schema and quotes; of a partitioned
    table, its partitions.

    Raises :class:`UnknownName` for a name that none of them has.
    """
    chosen: list[dict[str, Any]] = []
    for name in names:
        found = [
            row
            for row in rows
            if name
            in {
                row["name"],
                f"{row['schema']}.{row['name']}",
                row["qualified_name"],
                row.get("partition_of") or row["name"],
            }
        ]
        if not found:
            known = (f"{row['schema']}.{row['name']}" for row in rows)
            raise UnknownName(f'Unknown {kind} "{name}". {did_you_mean(name, known)}')
        chosen += [row for row in found if row not in chosen]
    return chosen
