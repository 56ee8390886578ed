"""Sequences that run out of numbers, and when they will have."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from heapq import nsmallest
from itertools import groupby
from operator import itemgetter
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.job import History
from maintenance.core.reports import Sample, Table
from maintenance.core.trend import Outlook
from maintenance.core.wording import counted, listed, percent
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
from maintenance.postgres.sql_files import query

#: Samples a run, and rows of the report's table at most: the fullest ones.
SEQUENCES_STORED = 50

#: The share used of each, over time.
METRIC = "sequence_used_ratio"


@dataclass(frozen=True, slots=True)
class SequenceColumn(NumberColumn):
    """One that takes its numbers from a sequence."""

    is_unique: bool


@dataclass(frozen=True, slots=True)
class SequenceState:
    """A sequence. ``last_value`` is ``None`` where none was drawn, or it could not be read."""

    oid: int
    schema: str
    name: str
    qualified_name: str
    minimum: int
    maximum: int
    increment: int
    cycles: bool
    type_name: str
    is_locked: bool
    may_read_value: bool
    may_select: bool
    last_value: int | None
    columns: tuple[SequenceColumn, ...]

    @property
    def is_readable(self) -> bool:
        """Whether a missing ``last_value`` means that no number was drawn."""
        return self.may_read_value and not self.is_locked

    @property
    def end(self) -> int:
        """The last number that both the sequence and its narrowest column can hold."""
        limits = [TYPE_MAXIMUM.get(column.type_name, self.maximum) for column in self.columns]
        if self.increment > 0:
            return min([self.maximum, *limits])
        return max([self.minimum, *(-limit - 1 for limit in limits)])

    @property
    def narrowest_column(self) -> SequenceColumn | None:
        """The column that ends before the sequence does, if one does."""
        sequence_end = self.maximum if self.increment > 0 else self.minimum
        if self.end == sequence_end:
            return None
        return min(self.columns, key=lambda c: TYPE_MAXIMUM.get(c.type_name, self.maximum))

    @property
    def first(self) -> int:
        """The number that it begins with, unless it was told to begin elsewhere."""
        return self.minimum if self.increment > 0 else self.maximum

    @property
    def size(self) -> int:
        """How many numbers can be drawn from its first to its last."""
        return abs(self.end - self.first) // abs(self.increment) + 1

    @property
    def used_ratio(self) -> float | None:
        """Share of the numbers that have been drawn; ``None`` where it could not be read."""
        if not self.is_readable:
            return None
        if self.last_value is None:
            return 0.0
        range_length = abs(self.end - self.first) + 1
        return min(1.0, max(0.0, (abs(self.last_value - self.first) + 1) / range_length))

    @property
    def values_left(self) -> int | None:
        """Numbers that can still be drawn; ``None`` where it could not be read."""
        if not self.is_readable:
            return None
        if self.last_value is None:
            return self.size
        ahead = (self.end - self.last_value) * (1 if self.increment > 0 else -1)
        return max(0, ahead // abs(self.increment))


def measure_sequences(conn: Connection, target: DatabaseTarget) -> list[SequenceState]:
    """Read every sequence; none whose lock is held is waited for."""
    rows = query(conn, "sequences", {"exclude_schemas": list(target.exclude_schemas)})
    return [_sequence(list(group)) for _, group in groupby(rows, key=lambda row: row["oid"])]


def _sequence(rows: Sequence[Mapping[str, Any]]) -> SequenceState:
    first = rows[0]
    names = ("oid", "schema", "name", "qualified_name", "minimum", "maximum", "increment")
    more = ("cycles", "type_name", "is_locked", "may_read_value", "may_select", "last_value")
    return SequenceState(
        **{name: first[name] for name in (*names, *more)},
        columns=tuple(_column(row) for row in rows if row["column_name"] is not None),
    )


def _column(row: Mapping[str, Any]) -> SequenceColumn:
    return SequenceColumn(
        schema=row["table_schema"],
        table=row["table_name"],
        name=row["column_name"],
        qualified_name=row["qualified_column"],
        type_name=row["column_type"],
        is_indexed=row["is_indexed"],
        is_unique=row["is_unique"],
        may_select=row["may_select_column"],
        is_row_security_active=row["is_row_security_active"],
    )


def sequence_outlooks(
    sequences: Iterable[SequenceState], history: History, now: float
) -> dict[str, Outlook]:
    """Return what is to be expected of the fullest sequences, by name, ``now`` being the time."""
    ratios = {s.qualified_name: s.used_ratio for s in fullest(sequences) if s.used_ratio}
    return outlooks_of(ratios, METRIC, history, now)


def diagnose_sequences(
    sequences: Iterable[SequenceState], outlooks: Mapping[str, Outlook]
) -> Iterator[Finding]:
    """Judge how much of each sequence is left and for how long.

    One that begins again at its end has no end.
    """
    for sequence in sequences:
        ratio, left = sequence.used_ratio, sequence.values_left
        if sequence.cycles or ratio is None or left is None:
            continue
        outlook = outlooks.get(sequence.qualified_name)
        severity = severity_of(ratio, outlook)
        if severity is not None:
            yield _near_end_finding(sequence, ratio, left, severity, outlook)


def _near_end_finding(
    sequence: SequenceState, ratio: float, left: int, severity: Severity, outlook: Outlook | None
) -> Finding:
    column = sequence.narrowest_column
    of_what = (
        f"the column {column.qualified_name} ({column.type_name})"
        if column
        else (f"the sequence ({sequence.type_name})")
    )
    return Finding(
        code="sequence-near-end",
        severity=severity,
        subject=sequence.qualified_name,
        sentence=(
            f"{sequence.qualified_name} has used {percent(ratio)} of its numbers:"
            f" {left:,} more {'fits' if left == 1 else 'fit'} into {of_what}, then"
            f" inserts fail{date_clause(outlook, sequence.size)}."
        ),
        evidence={
            "last_value": sequence.last_value,
            "end": sequence.end,
            "increment": sequence.increment,
            "used_ratio": ratio,
            "values_left": left,
            "columns": [c.qualified_name for c in sequence.columns],
            "limit_ratio": USED_WARNING_RATIO,
            **date_evidence(outlook, sequence.size),
        },
        advice=_near_end_advice(sequence),
    )


def _near_end_advice(sequence: SequenceState) -> str:
    narrow = [c for c in sequence.columns if c.type_name in {"smallint", "integer"}]
    if narrow:
        return (
            f"Plan to change {listed([c.qualified_name for c in narrow])} and every column that"
            " refers to it to bigint: ALTER COLUMN ... TYPE rewrites the table under an exclusive"
            " lock; a large table takes a new column, filled in batches. An identity's or serial's"
            " sequence needs ALTER SEQUENCE ... AS bigint as well."
        )
    if sequence.type_name != "bigint":
        return "Its column holds larger numbers: ALTER SEQUENCE ... AS bigint needs no rewrite."
    return "Raise its MAXVALUE (MINVALUE, if it descends), if what uses it can hold more."


def unreadable_sequences(sequences: Iterable[SequenceState]) -> Iterator[Finding]:
    """Say which sequences could not be read, and what that needs."""
    states = list(sequences)
    hidden = [s.qualified_name for s in states if not s.may_read_value]
    locked = [s.qualified_name for s in states if s.may_read_value and s.is_locked]
    for names, needs in (
        (hidden, "GRANT SELECT ON SEQUENCE (or GRANT pg_read_all_data) for"),
        (locked, "locks that somebody else holds or awaits on"),
    ):
        if names:
            what = f"how much is left of {counted(len(names), 'sequence')}"
            yield unavailable("sequence-value", "sequences", what, f"{needs} {listed(names)}")


def fullest(sequences: Iterable[SequenceState]) -> list[SequenceState]:
    """Return the sequences that have used most of their numbers, the fullest first.

    One that begins again at its end has no end.
    """
    used = [(s, s.used_ratio) for s in sequences if not s.cycles]
    known = [(-ratio, s.qualified_name, s) for s, ratio in used if ratio is not None]
    return [s for _, _, s in nsmallest(SEQUENCES_STORED, known, key=itemgetter(0, 1))]


def sequences_table(sequences: Iterable[SequenceState], outlooks: Mapping[str, Outlook]) -> Table:
    """Return the fullest sequences."""
    return Table.of(
        "Sequences nearest to their end",
        [
            {
                "sequence": s.qualified_name,
                "last_value": s.last_value,
                "end": s.end,
                "used_ratio": s.used_ratio,
                "numbers_per_day": numbers_per_day(outlooks.get(s.qualified_name), s.size),
                "ends_about": end_day(outlooks.get(s.qualified_name)),
            }
            for s in fullest(sequences)
            if (s.used_ratio or 0.0) >= SHOWN_FROM_RATIO
        ],
    )


def sequence_samples(sequences: Iterable[SequenceState]) -> tuple[Sample, ...]:
    """Return the shares used of the fullest sequences, from which their end is foretold."""
    return tuple(
        Sample(METRIC, s.used_ratio, s.qualified_name) for s in fullest(sequences) if s.used_ratio
    )
