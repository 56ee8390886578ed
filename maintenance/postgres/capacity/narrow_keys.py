"""Key columns of smallint or integer that fill up although no sequence tells.

Two kinds: primary keys that the application numbers, and foreign key columns whose type is narrower
than that of the key they refer to (a key was changed to bigint and its references were forgotten).
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.job import History
from maintenance.core.reports import Sample, Table
from maintenance.core.trend import Outlook
from maintenance.core.wording import counted, listed, percent
from maintenance.postgres.batches import read_in_batches
from maintenance.postgres.capacity.exhaustion import (
    SHOWN_FROM_RATIO,
    TYPE_MAXIMUM,
    USED_WARNING_RATIO,
    NumberColumn,
    date_clause,
    date_evidence,
    end_day,
    numbers_per_day,
    outlooks_of,
    severity_of,
)
from maintenance.postgres.capacity.sequences import SequenceState
from maintenance.postgres.exclusive_use import NEEDS, tables_in_exclusive_use
from maintenance.postgres.sql_files import query
from maintenance.postgres.time_budget import TimeBudget

#: Primary keys whose largest value is looked up, the tables with most rows first; each look reads
#: the last page of an index.
KEYS_READ = 200

#: Samples a run, and rows of the report's table at most: the fullest ones.
KEYS_STORED = 50

#: The share used of each, over time.
METRIC = "key_used_ratio"


@dataclass(frozen=True, slots=True)
class Column(NumberColumn):
    """One whose largest value says how far the numbers have come."""

    is_locked: bool


@dataclass(frozen=True, slots=True)
class NarrowKey:
    """A column that can hold numbers up to ``maximum``, and the ``highest`` it has met or will.

    ``referenced`` is the wider column that a foreign key refers to, ``None`` for a primary key.
    ``highest`` is ``None`` where it could not be read, or where there is no row.
    """

    qualified_name: str
    type_name: str
    referenced: Column | None
    highest: int | None

    @property
    def maximum(self) -> int:
        """The largest number that fits."""
        return TYPE_MAXIMUM[self.type_name]

    @property
    def used_ratio(self) -> float | None:
        """Share of the numbers that are used up; above 1 where a reference cannot follow."""
        return None if self.highest is None else max(0.0, self.highest / self.maximum)


@dataclass(frozen=True, slots=True)
class NarrowKeys:
    """What was measured, and the columns that could not be read by what that would need."""

    keys: tuple[NarrowKey, ...]
    not_read: Mapping[str, tuple[str, ...]]
    left_out: int


def measure_narrow_keys(
    conn: Connection,
    target: DatabaseTarget,
    sequences: Iterable[SequenceState],
    budget: TimeBudget,
) -> NarrowKeys:
    """Find the columns, and how far their numbers have come.

    Where a sequence feeds the referenced column its last value tells; elsewhere the largest value
    is read from an index. No lock is waited for.
    """
    excluded = {"exclude_schemas": list(target.exclude_schemas)}
    fed = {column.qualified_name: s for s in sequences for column in s.columns}
    own = [
        Column(**row)
        for row in query(conn, "integer_primary_keys", excluded)
        if row["qualified_name"] not in fed
    ]
    references = query(conn, "narrow_references", excluded)
    referenced = {row["qualified_name"]: _referenced(row) for row in references}
    unfed = [column for name, column in referenced.items() if name not in fed]
    highest, not_read = _highest_values(conn, [*own[:KEYS_READ], *unfed[:KEYS_READ]], budget)
    drawn = {name: s.last_value for name, s in fed.items() if s.is_readable and s.increment > 0}
    known = {**drawn, **highest}
    keys = [
        *(NarrowKey(c.qualified_name, c.type_name, None, known.get(c.qualified_name)) for c in own),
        *(
            NarrowKey(
                row["referencing_column"],
                row["referencing_type"],
                referenced[row["qualified_name"]],
                known.get(row["qualified_name"]),
            )
            for row in references
        ),
    ]
    left_out = max(0, len(own) - KEYS_READ) + max(0, len(unfed) - KEYS_READ)
    return NarrowKeys(tuple(keys), not_read, left_out)


def _referenced(row: Mapping[str, Any]) -> Column:
    names = {name: value for name, value in row.items() if not name.startswith("referencing_")}
    return Column(**names)


def _highest_values(
    conn: Connection, columns: Sequence[Column], budget: TimeBudget
) -> tuple[dict[str, int | None], dict[str, tuple[str, ...]]]:
    needs: dict[str, list[str]] = {}
    readable: list[Column] = []
    in_use = tables_in_exclusive_use(conn)
    for column in columns:
        missing = _missing(column)
        if not missing and (column.schema, column.table) in in_use:
            missing = NEEDS
        if missing:
            needs.setdefault(missing, []).append(column.qualified_name)
        else:
            readable.append(column)
    read, failed = read_in_batches(conn, readable, _highest, budget)
    for column, why in failed:
        needs.setdefault(why, []).append(column.qualified_name)
    values = {column.qualified_name: row[0] for column, row in read}
    return values, {need: tuple(names) for need, names in needs.items()}


def _missing(column: Column) -> str:
    if not column.may_select:
        return "GRANT SELECT on their tables (or GRANT pg_read_all_data)"
    if column.is_locked:
        return "a lock that somebody else holds or awaits"
    if column.is_row_security_active:
        return "a role with BYPASSRLS, because policies hide rows from ours"
    return "" if column.is_indexed else "an index that begins with the column"


def _highest(column: Column, place: sql.Composable) -> sql.Composed:
    return sql.SQL("SELECT {place}, max({column})::bigint FROM {table}").format(
        place=place,
        column=sql.Identifier(column.name),
        table=sql.Identifier(column.schema, column.table),
    )


def key_outlooks(keys: Iterable[NarrowKey], history: History, now: float) -> dict[str, Outlook]:
    """Return what is to be expected of the fullest keys, by column, ``now`` being the time."""
    ratios = {key.qualified_name: key.used_ratio for key in fullest(keys) if key.used_ratio}
    return outlooks_of(ratios, METRIC, history, now)


def diagnose_narrow_keys(
    keys: Sequence[NarrowKey], outlooks: Mapping[str, Outlook]
) -> Iterator[Finding]:
    """Judge how much of each key is left; references with much left share one finding."""
    at_ease: list[NarrowKey] = []
    for key in keys:
        outlook = outlooks.get(key.qualified_name)
        severity = None if key.used_ratio is None else severity_of(key.used_ratio, outlook)
        if severity is not None and key.used_ratio is not None:
            yield _near_end(key, key.used_ratio, severity, outlook)
        elif key.referenced is not None:
            at_ease.append(key)
    if at_ease:
        yield _forgotten_references(at_ease)


def _near_end(key: NarrowKey, ratio: float, severity: Severity, outlook: Outlook | None) -> Finding:
    column = f"{key.qualified_name} ({key.type_name})"
    if key.referenced is None:
        code = "key-near-end"
        sentence = f"{column} has used {percent(min(ratio, 1.0))} of its numbers, which end at"
        end = "then inserts fail"
    else:
        code = "narrow-foreign-key"
        sentence = (
            f"{column} refers to {key.referenced.qualified_name} ({key.referenced.type_name}),"
            f" which has used {percent(min(ratio, 1.0))} of the numbers that fit, up to"
        )
        end = "beyond it, new rows cannot be referred to"
    return Finding(
        code=code,
        severity=severity,
        subject=key.qualified_name,
        sentence=f"{sentence} {key.maximum:,}: {end}{date_clause(outlook, key.maximum)}.",
        evidence={
            "highest": key.highest,
            "end": key.maximum,
            "used_ratio": ratio,
            "limit_ratio": USED_WARNING_RATIO,
            **date_evidence(outlook, key.maximum),
        },
        advice=(
            f"Plan to change {key.qualified_name} to bigint: ALTER COLUMN ... TYPE rewrites the"
            " table under an exclusive lock; a large table takes a new column, filled in batches."
            + ("" if key.referenced else " Change every column that refers to it as well.")
        ),
    )


def _forgotten_references(keys: Sequence[NarrowKey]) -> Finding:
    known = [key.used_ratio for key in keys if key.used_ratio is not None]
    so_far = f"; the furthest has used {percent(max(known))} of what fits" if known else ""
    verb = "is" if len(keys) == 1 else "are"
    return Finding(
        code="narrow-foreign-key",
        severity=Severity.INFO,
        subject="foreign keys",
        sentence=(
            f"{counted(len(keys), 'foreign key column')} {verb} of a narrower type than the key"
            f" referred to: {listed([key.qualified_name for key in keys])}{so_far}."
        ),
        evidence={"columns": [key.qualified_name for key in keys[:KEYS_STORED]]},
        advice="Give them the type of the key with the next change of these tables.",
    )


def unread_keys(measured: NarrowKeys) -> Iterator[Finding]:
    """Say which keys could not be read, and what that needs."""
    needs = dict(measured.not_read)
    for need, names in sorted(needs.items()):
        what = f"how much is left of {counted(len(names), 'key')}"
        yield unavailable("key-value", "integer keys", what, f"{need}: {listed(list(names))}")


def fullest(keys: Iterable[NarrowKey]) -> list[NarrowKey]:
    """Return the keys that have used most of their numbers, the fullest first."""
    known = [key for key in keys if key.used_ratio is not None]
    known.sort(key=lambda key: (-(key.used_ratio or 0.0), key.qualified_name))
    return known[:KEYS_STORED]


def narrow_keys_table(keys: Iterable[NarrowKey], outlooks: Mapping[str, Outlook]) -> Table:
    """Return the fullest keys."""
    return Table.of(
        "Integer keys without a sequence, and references narrower than their key",
        [
            {
                "column": key.qualified_name,
                "refers_to": key.referenced.qualified_name if key.referenced else None,
                "highest": key.highest,
                "end": key.maximum,
                "used_ratio": key.used_ratio,
                "numbers_per_day": numbers_per_day(outlooks.get(key.qualified_name), key.maximum),
                "ends_about": end_day(outlooks.get(key.qualified_name)),
            }
            for key in fullest(keys)
            if (key.used_ratio or 0.0) >= SHOWN_FROM_RATIO
        ],
    )


def narrow_key_samples(keys: Iterable[NarrowKey]) -> tuple[Sample, ...]:
    """Return the shares used of the fullest keys, from which their end is foretold."""
    return tuple(
        Sample(METRIC, key.used_ratio, key.qualified_name)
        for key in fullest(keys)
        if key.used_ratio
    )
