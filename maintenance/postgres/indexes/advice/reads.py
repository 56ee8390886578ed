"""How a statement reads a table: what an index of it would have to serve."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from maintenance.postgres.indexes.advice.catalog import IndexKey, Table


@dataclass(frozen=True, slots=True)
class Cost:
    """What a statement cost in the window. ``rows`` are those that all calls returned or changed."""

    query_id: str
    text: str
    calls: int
    total_ms: float
    rows: int


@dataclass(frozen=True, slots=True)
class Search:
    """A condition that only a GIN index serves: containment, text search, LIKE.

    ``note`` says what the statistics do not show of it, and is assumed. ``missing_extension`` is
    the one that an index of it would need and the database does not have.
    """

    key: IndexKey
    note: str = ""
    missing_extension: str = ""


@dataclass(frozen=True, slots=True)
class TableRead:
    """The conditions that one statement puts to one table.

    Keys are quoted columns or expressions on one column. ``equalities`` maps each to its share of
    the rows, ``lists`` are those among them that are compared with several values. ``ranges``
    holds the share of the rows that a range is taken for. ``conditions`` are true or false by
    themselves (``NOT deleted``, ``parent_id IS NULL``), with the share of rows for which they hold.
    ``order`` is the first key of ORDER BY, ``limit_rows`` how many rows LIMIT lets through, ``None``
    without one. ``observed_rows`` is the measured number of rows a call where the statement does
    nothing but read this table.
    """

    table: Table
    cost: Cost
    equalities: Mapping[str, float] = field(default_factory=dict)
    lists: frozenset[str] = frozenset()
    ranges: Mapping[str, float] = field(default_factory=dict)
    conditions: Mapping[str, float] = field(default_factory=dict)
    searches: tuple[Search, ...] = ()
    order: IndexKey | None = None
    limit_rows: float | None = None
    observed_rows: float | None = None
    mean_bytes: Mapping[str, float] = field(default_factory=dict)

    @property
    def restricts(self) -> bool:
        """Whether an index could serve it at all."""
        return bool(
            self.equalities
            or self.ranges
            or self.searches
            or self.conditions
            or (self.order is not None and self.limit_rows is not None)
        )
