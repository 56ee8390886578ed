"""Sequences that run out of numbers, or that lag behind the column they are for."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.reports import Sample, Table
from maintenance.core.wording import counted, listed, percent
from maintenance.postgres.connection import MARKER, connection_was_lost, query, reason_of
from maintenance.postgres.time_budget import TimeBudget

#: Changing a column to bigint rewrites its table and wants planning: at three quarters there is
#: time for it, at nine tenths it is the next thing to do.
USED_WARNING_RATIO = 0.75
USED_CRITICAL_RATIO = 0.90

#: Rows of the report's table and samples a run: the fullest ones. The others do not matter.
SEQUENCES_SHOWN = 50

# Largest values (PostgreSQL documentation, "Numeric Types"); other types hold any sequence.
_TYPE_MAXIMUM = {"smallint": 2**15 - 1, "integer": 2**31 - 1, "bigint": 2**63 - 1}

#: Sequences compared with their columns in one statement.
BATCH = 100

# Beyond, last_value plus an increment may not fit into a bigint.
_NEAR_BIGINT_END = 9_000_000_000_000_000_000


@dataclass(frozen=True, slots=True)
class SequenceColumn:
    """A column that takes its numbers from a sequence."""

    schema: str
    table: str
    name: str
    qualified_name: str
    type_name: str
    is_indexed: bool
    is_unique: bool
    may_select: bool
    is_row_security_active: bool


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
        limits = [_TYPE_MAXIMUM.get(column.type_name, self.maximum) for column in self.columns]
        if self.increment > 0:
            return min([self.maximum, *limits])
        return max([self.minimum, *(-limit - 1 for limit in limits)])

    @property
    def narrowest_column(self) -> SequenceColumn | None:
        """The column that ends before the sequence does, if one does."""
        sequence_end = self.maximum if self.increment > 0 else self.minimum
        if self.end == sequence_end:
            return None
        return min(self.columns, key=lambda c: _TYPE_MAXIMUM.get(c.type_name, self.maximum))

    @property
    def used_ratio(self) -> float | None:
        """Share of the numbers that have been drawn; ``None`` where it could not be read."""
        if not self.is_readable:
            return None
        if self.last_value is None:
            return 0.0
        first = self.minimum if self.increment > 0 else self.maximum
        size = abs(self.end - first) + 1
        return min(1.0, max(0.0, (abs(self.last_value - first) + 1) / size))

    @property
    def values_left(self) -> int | None:
        """Numbers that can still be drawn; ``None`` where it could not be read."""
        if not self.is_readable:
            return None
        if self.last_value is None:
            first = self.minimum if self.increment > 0 else self.maximum
            return abs(self.end - first) // abs(self.increment) + 1
        ahead = (self.end - self.last_value) * (1 if self.increment > 0 else -1)
        return max(0, ahead // abs(self.increment))


#: A sequence and one of its columns.
Pair = tuple[SequenceState, SequenceColumn]


@dataclass(frozen=True, slots=True)
class Lag:
    """A sequence whose next number is not beyond what its column holds already.

    ``furthest_value`` is the column's largest value (smallest, if the sequence descends);
    ``next_is_taken`` says that the very next number stands in the column.
    """

    sequence: SequenceState
    column: SequenceColumn
    last_value: int
    is_called: bool
    next_value: int
    furthest_value: int
    next_is_taken: bool


@dataclass(frozen=True, slots=True)
class LagMeasurement:
    """Which sequences lag, and which columns could not be compared, by what that would need."""

    lags: tuple[Lag, ...]
    compared: int
    not_compared: Mapping[str, tuple[str, ...]]


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


def measure_lag(
    conn: Connection, sequences: Iterable[SequenceState], budget: TimeBudget
) -> LagMeasurement:
    """Compare each sequence with the columns it is for, where an index makes that cheap.

    The session's own limits end a comparison that takes long or would wait for a lock.
    """
    needs: dict[str, list[str]] = {}
    pairs: list[Pair] = []
    for sequence in sequences:
        for column in sequence.columns:
            if column.type_name not in _TYPE_MAXIMUM or sequence.cycles:
                continue
            missing = _missing_for_comparison(sequence, column)
            if missing:
                needs.setdefault(missing, []).append(sequence.qualified_name)
            else:
                pairs.append((sequence, column))
    lags: list[Lag] = []
    for start in range(0, len(pairs), BATCH):
        batch = pairs[start : start + BATCH]
        if budget.is_spent:
            spent = f"more than {budget.seconds:.0f} seconds"
            needs.setdefault(spent, []).extend(s.qualified_name for s, _ in batch)
            continue
        lags += _compared(conn, batch, needs)
    failed = {name: tuple(names) for name, names in needs.items()}
    return LagMeasurement(tuple(lags), len(pairs), failed)


def _missing_for_comparison(sequence: SequenceState, column: SequenceColumn) -> str:
    if not (sequence.may_select and column.may_select):
        return "GRANT SELECT on the sequences and their tables (or GRANT pg_read_all_data)"
    if sequence.is_locked:
        return "a lock that somebody else holds or awaits"
    if column.is_row_security_active:
        return "a role with BYPASSRLS, because policies hide rows from ours"
    return "" if column.is_indexed else "an index that begins with the column"


def _compared(
    conn: Connection, pairs: Sequence[Pair], needs: dict[str, list[str]]
) -> Iterator[Lag]:
    """Compare in one statement; one that fails is halved until the pair at fault stands alone."""
    try:
        with conn.cursor() as cursor:
            cursor.execute(_comparison(pairs))
            rows = cursor.fetchall()
    except psycopg2.Error as error:
        if connection_was_lost(conn, error):
            raise
        if len(pairs) == 1:
            why = f"another attempt ({reason_of(error)})"
            needs.setdefault(why, []).append(pairs[0][0].qualified_name)
            return
        half = len(pairs) // 2
        yield from _compared(conn, pairs[:half], needs)
        yield from _compared(conn, pairs[half:], needs)
        return
    for place, last_value, is_called, next_value, furthest, next_is_taken in rows:
        sequence, column = pairs[place]
        ahead = 1 if sequence.increment > 0 else -1
        if furthest is not None and (furthest - next_value) * ahead >= 0:
            yield Lag(sequence, column, last_value, is_called, next_value, furthest, next_is_taken)


def _comparison(pairs: Sequence[Pair]) -> sql.Composed:
    """Build the statement.

    A sequence is read after the snapshot of its table, never before, so that rows which are
    inserted meanwhile cannot make it seem to lag.
    """
    selects = [
        sql.SQL(
            "SELECT {place}, s.last_value, s.is_called, n.next_value, f.furthest,"
            " EXISTS (SELECT FROM {table} AS t WHERE t.{column} = n.next_value)"
            " FROM {sequence} AS s"
            " CROSS JOIN LATERAL (SELECT s.last_value + CASE WHEN s.is_called"
            " AND s.last_value BETWEEN -{near_end} AND {near_end} THEN {increment} ELSE 0 END"
            " AS next_value) AS n"
            " CROSS JOIN (SELECT {furthest}({column}) AS furthest FROM {table}) AS f"
        ).format(
            place=sql.Literal(place),
            table=sql.Identifier(column.schema, column.table),
            column=sql.Identifier(column.name),
            sequence=sql.Identifier(sequence.schema, sequence.name),
            near_end=sql.Literal(_NEAR_BIGINT_END),
            increment=sql.Literal(sequence.increment),
            furthest=sql.SQL("max" if sequence.increment > 0 else "min"),
        )
        for place, (sequence, column) in enumerate(pairs)
    ]
    return sql.SQL("{} {}").format(sql.SQL(MARKER), sql.SQL(" UNION ALL ").join(selects))


def diagnose_sequences(sequences: Iterable[SequenceState]) -> Iterator[Finding]:
    """Judge how much of each sequence is left; one that begins again at its end has no end."""
    for sequence in sequences:
        ratio, left = sequence.used_ratio, sequence.values_left
        if sequence.cycles or ratio is None or left is None or ratio <= USED_WARNING_RATIO:
            continue
        yield _near_end_finding(sequence, ratio, left)


def _near_end_finding(sequence: SequenceState, ratio: float, left: int) -> Finding:
    column = sequence.narrowest_column
    of_what = (
        f"the column {column.qualified_name} ({column.type_name})"
        if column
        else (f"the sequence ({sequence.type_name})")
    )
    return Finding(
        code="sequence-near-end",
        severity=Severity.CRITICAL if ratio > USED_CRITICAL_RATIO else Severity.WARNING,
        subject=sequence.qualified_name,
        sentence=(
            f"{sequence.qualified_name} has used {percent(ratio)} of its numbers:"
            f" {left:,} more {'fits' if left == 1 else 'fit'} into {of_what}, then"
            " inserts fail."
        ),
        evidence={
            "last_value": sequence.last_value,
            "end": sequence.end,
            "increment": sequence.increment,
            "used_ratio": ratio,
            "values_left": left,
            "columns": [c.qualified_name for c in sequence.columns],
            "limit_ratio": USED_WARNING_RATIO,
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


def diagnose_lags(conn: Connection, lags: Iterable[Lag]) -> Iterator[Finding]:
    """Judge sequences that lag; ``conn`` only quotes names."""
    for lag in lags:
        fails = lag.next_is_taken and lag.column.is_unique
        name, column = lag.sequence.qualified_name, lag.column.qualified_name
        yield Finding(
            code="sequence-behind-column",
            severity=Severity.CRITICAL if fails else Severity.WARNING,
            subject=name,
            sentence=(
                f"{name} lags behind {column}: its next number is {lag.next_value:,}, but the"
                f" column already goes to {lag.furthest_value:,}"
                + ("; the next insert fails." if fails else ".")
            ),
            evidence={
                "column": column,
                "next_value": lag.next_value,
                "furthest_value": lag.furthest_value,
                "next_is_taken": lag.next_is_taken,
            },
            advice=(
                "Rows were inserted with numbers of their own, by a copy or a restore for example."
                " Move the sequence on while nobody inserts."
            ),
            commands=(_setval_to_furthest(conn, lag),),
            undo=(_setval_back(conn, lag),),
        )


def _setval_to_furthest(conn: Connection, lag: Lag) -> str:
    statement = sql.SQL("SELECT setval({}, (SELECT {}({}) FROM {}));").format(
        sql.Literal(lag.sequence.qualified_name),
        sql.SQL("max" if lag.sequence.increment > 0 else "min"),
        sql.Identifier(lag.column.name),
        sql.Identifier(lag.column.schema, lag.column.table),
    )
    return statement.as_string(conn)


def _setval_back(conn: Connection, lag: Lag) -> str:
    statement = sql.SQL("SELECT setval({}, {}, {});").format(
        sql.Literal(lag.sequence.qualified_name),
        sql.Literal(lag.last_value),
        sql.Literal(lag.is_called),
    )
    return statement.as_string(conn)


def unreadable_sequences(
    sequences: Iterable[SequenceState], lag: LagMeasurement
) -> Iterator[Finding]:
    """Say which sequences could not be read or compared, and what that needs."""
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
    for needs, compared in sorted(lag.not_compared.items()):
        what = f"comparing {counted(len(compared), 'sequence')} with its column"
        yield unavailable(
            "sequence-lag", "sequence columns", what, f"{needs}: {listed(list(compared))}"
        )


def fullest(sequences: Iterable[SequenceState]) -> list[SequenceState]:
    """Return the sequences that have used most of their numbers, the fullest first."""
    known = [s for s in sequences if s.used_ratio is not None]
    known.sort(key=lambda s: (-(s.used_ratio or 0.0), s.qualified_name))
    return known[:SEQUENCES_SHOWN]


def sequences_table(sequences: Iterable[SequenceState]) -> Table:
    """Return the fullest sequences."""
    return Table.of(
        "Sequences nearest to their end",
        [
            {
                "sequence": s.qualified_name,
                "columns": ", ".join(column.qualified_name for column in s.columns),
                "last_value": s.last_value,
                "end": s.end,
                "used_ratio": s.used_ratio,
                "values_left": s.values_left,
                "cycles": s.cycles,
            }
            for s in fullest(sequences)
        ],
    )


def sequence_samples(sequences: Iterable[SequenceState]) -> tuple[Sample, ...]:
    """Return the shares used of the fullest sequences, from which their end can be foretold."""
    return tuple(
        Sample("sequence_used_ratio", s.used_ratio, s.qualified_name)
        for s in fullest(sequences)
        if s.used_ratio and not s.cycles
    )
