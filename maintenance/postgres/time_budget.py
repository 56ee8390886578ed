"""Time that several statements share."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field


class OutOfTime(Exception):
    """The time that was given is used up."""


@dataclass(frozen=True, slots=True)
class TimeBudget:
    """``seconds`` from its making on; whoever works in steps asks before each of them."""

    seconds: float
    started: float = field(default_factory=time.monotonic)

    @property
    def left_seconds(self) -> float:
        """What is left; 0 and less where nothing is."""
        return self.seconds - (time.monotonic() - self.started)

    @property
    def is_spent(self) -> bool:
        """Whether nothing is left."""
        return self.left_seconds <= 0

    def require_more(self) -> None:
        """Raise :class:`OutOfTime` where nothing is left."""
        if self.is_spent:
            raise OutOfTime


_of_queries: ContextVar[TimeBudget | None] = ContextVar("time budget of queries", default=None)


@contextmanager
def queries_within(budget: TimeBudget) -> Iterator[None]:
    """In the body, :func:`~maintenance.postgres.sql_files.query` keeps to ``budget``."""
    token = _of_queries.set(budget)
    try:
        yield
    finally:
        _of_queries.reset(token)


def require_time_for_a_query() -> None:
    """Raise :class:`OutOfTime` where the budget of the queries, if there is one, is spent."""
    budget = _of_queries.get()
    if budget is not None:
        budget.require_more()
