"""Which columns a larger statistics target may help, by what their statistics say. Pure.

ANALYZE keeps as many common values of a column as its target, and the planner takes every other
value for as frequent as their average (PostgreSQL documentation, "Row Estimation Examples":
``(1 - sum(most_common_freqs)) / (num_distinct - num_mcv)``). Where the list ends because it is full,
and not because what follows is even, the values behind its end are estimated far too low, and the rare
ones too high. A longer list mends that, at the price of space, planning and ANALYZE ("Statistics Used
by the Planner"). Where what follows is even, it mends nothing.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

#: A table of fewer rows is read whole in moments, whatever the planner believes.
LEAST_ROWS = 10_000
#: Targets that are tried. ANALYZE reads 300 rows for each, of all columns of the table: with the last
#: one ten times what it reads by default.
TARGETS = (200, 500, 1000)
#: Values are even among one another while the most frequent has no more than this times their mean.
EVEN_RATIO = 2.0
#: Where fewer rows have values beyond the list, it hardly matters how those are estimated.
LEAST_REST_RATIO = 0.01


@dataclass(frozen=True, slots=True)
class ColumnStatistics:
    """A column as a row of ``sql/statistics_targets.sql``, with no value of its rows.

    ``own_target`` is ``None`` where the server's default holds. ``distinct`` is ``n_distinct`` of
    pg_stats, ``least_common_ratio`` the share of the last of its ``common_values``; all of them are
    ``None`` where there are no statistics, or none that the role may see. ``qualified_name`` is quoted.
    """

    oid: int
    number: int
    schema: str
    table: str
    name: str
    qualified_name: str
    table_name: str
    type_name: str
    rows: float
    pages: int
    own_target: int | None
    default_target: int
    is_searched: bool
    is_readable: bool
    may_alter: bool
    grant: str
    distinct: float | None
    null_ratio: float | None
    common_values: int | None
    common_ratio: float | None
    least_common_ratio: float | None

    @property
    def target(self) -> int:
        """The target that ANALYZE keeps to."""
        return self.default_target if self.own_target is None else self.own_target

    @property
    def names(self) -> tuple[str, ...]:
        """What a person may call it."""
        return (
            f"{self.table}.{self.name}",
            f"{self.schema}.{self.table}.{self.name}",
            self.qualified_name,
        )


@dataclass(frozen=True, slots=True)
class Rest:
    """What a sample has beyond its ``target`` most frequent values.

    ``rows`` are those of ``values`` different values, ``most_rows`` those of the most frequent.
    """

    target: int
    most_rows: float
    rows: float
    values: float

    @property
    def is_even(self) -> bool:
        """Whether one frequency describes all of them."""
        return self.most_rows * self.values <= EVEN_RATIO * self.rows


def is_cut_off(column: ColumnStatistics) -> bool:
    """Tell whether the list of common values ends because it is full, before what follows is even."""
    if not column.common_values or column.common_values < column.target:
        return False
    if column.distinct is None or column.least_common_ratio is None:
        return False
    distinct = column.distinct if column.distinct >= 0 else -column.distinct * column.rows
    others = distinct - column.common_values
    rest = 1 - (column.common_ratio or 0.0) - (column.null_ratio or 0.0)
    if others <= 0 or rest < LEAST_REST_RATIO:
        return False
    return column.least_common_ratio * others > EVEN_RATIO * rest


def larger_targets(present: int) -> tuple[int, ...]:
    """Return the targets above the present one that may be tried."""
    return tuple(target for target in TARGETS if target > present)


def target_for(present: int, rests: Sequence[Rest]) -> int | None:
    """Return the smallest target whose list leaves an even rest, or the largest one.

    ``rests`` are those of the present target and of each larger one. ``None`` where the present list
    leaves an even rest already, or nothing larger is tried.
    """
    by_target: Mapping[int, Rest] = {rest.target: rest for rest in rests}
    larger = larger_targets(present)
    if not larger or by_target[present].is_even:
        return None
    return next((target for target in larger if by_target[target].is_even), larger[-1])


def column_of(row: Mapping[str, Any]) -> ColumnStatistics:
    """Build from a row of ``sql/statistics_targets.sql``."""
    return ColumnStatistics(**row)
