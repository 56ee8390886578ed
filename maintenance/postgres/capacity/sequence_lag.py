"""Sequences that lag behind the column they are for: the next insert may meet a number in use."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.wording import counted, listed
from maintenance.postgres.batches import read_in_batches
from maintenance.postgres.capacity.exhaustion import TYPE_MAXIMUM
from maintenance.postgres.capacity.sequences import SequenceColumn, SequenceState
from maintenance.postgres.exclusive_use import NEEDS, tables_in_exclusive_use
from maintenance.postgres.time_budget import TimeBudget

# Beyond, last_value plus an increment may not fit into a bigint.
_NEAR_BIGINT_END = 9_000_000_000_000_000_000


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


def measure_lag(
    conn: Connection, sequences: Iterable[SequenceState], budget: TimeBudget
) -> LagMeasurement:
    """Compare each sequence with the columns it is for, where an index makes that cheap.

    The session's own limits end a comparison that takes long or would wait for a lock.
    """
    needs: dict[str, list[str]] = {}
    pairs: list[Pair] = []
    in_use = tables_in_exclusive_use(conn)
    for sequence in sequences:
        for column in sequence.columns:
            if column.type_name not in TYPE_MAXIMUM or sequence.cycles:
                continue
            missing = _missing_for_comparison(sequence, column)
            if not missing and (column.schema, column.table) in in_use:
                missing = NEEDS
            if missing:
                needs.setdefault(missing, []).append(sequence.qualified_name)
            else:
                pairs.append((sequence, column))
    read, failed = read_in_batches(conn, pairs, _comparison, budget)
    for (sequence, _), why in failed:
        needs.setdefault(why, []).append(sequence.qualified_name)
    return LagMeasurement(
        tuple(_lags(read)), len(pairs), {name: tuple(names) for name, names in needs.items()}
    )


def _missing_for_comparison(sequence: SequenceState, column: SequenceColumn) -> str:
    if not (sequence.may_select and column.may_select):
        return "GRANT SELECT on the sequences and their tables (or GRANT pg_read_all_data)"
    if sequence.is_locked:
        return "a lock that somebody else holds or awaits"
    if column.is_row_security_active:
        return "a role with BYPASSRLS, because policies hide rows from ours"
    return "" if column.is_indexed else "an index that begins with the column"


def _lags(read: Iterable[tuple[Pair, tuple[Any, ...]]]) -> Iterator[Lag]:
    for (sequence, column), values in read:
        last_value, is_called, next_value, furthest, next_is_taken = values
        ahead = 1 if sequence.increment > 0 else -1
        if furthest is not None and (furthest - next_value) * ahead >= 0:
            yield Lag(sequence, column, last_value, is_called, next_value, furthest, next_is_taken)


def _comparison(pair: Pair, place: sql.Composable) -> sql.Composed:
    """Build the statement for one pair.

    A sequence is read after the snapshot of its table, never before, so that rows which are
    inserted meanwhile cannot make it seem to lag.
    """
    sequence, column = pair
    return sql.SQL(
        "SELECT {place}, s.last_value, s.is_called, n.next_value, f.furthest,"
        " EXISTS (SELECT FROM {table} AS t WHERE t.{column} = n.next_value)"
        " FROM {sequence} AS s"
        " CROSS JOIN LATERAL (SELECT s.last_value + CASE WHEN s.is_called"
        " AND s.last_value BETWEEN -{near_end} AND {near_end} THEN {increment} ELSE 0 END"
        " AS next_value) AS n"
        " CROSS JOIN (SELECT {furthest}({column}) AS furthest FROM {table}) AS f"
    ).format(
        place=place,
        table=sql.Identifier(column.schema, column.table),
        column=sql.Identifier(column.name),
        sequence=sql.Identifier(sequence.schema, sequence.name),
        near_end=sql.Literal(_NEAR_BIGINT_END),
        increment=sql.Literal(sequence.increment),
        furthest=sql.SQL("max" if sequence.increment > 0 else "min"),
    )


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


def uncompared_sequences(lag: LagMeasurement) -> Iterator[Finding]:
    """Say which sequences could not be compared, and what that needs."""
    for needs, compared in sorted(lag.not_compared.items()):
        what = f"comparing {counted(len(compared), 'sequence')} with its column"
        yield unavailable(
            "sequence-lag", "sequence columns", what, f"{needs}: {listed(list(compared))}"
        )
