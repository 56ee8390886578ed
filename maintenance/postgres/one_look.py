"""What several analyses of one run need alike is read once, so that they also agree about it."""

import gc
from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, TypeVar

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.postgres.connection import address_of, kept_sessions

MeasurementT = TypeVar("MeasurementT")

#: Objects made between two collections; by default it is 700 (documentation of ``gc``).
ALLOCATIONS_A_COLLECTION = 200_000

_look: ContextVar[dict[Hashable, Any] | None] = ContextVar("one_look", default=None)


@contextmanager
def one_look() -> Iterator[None]:
    """Keep what :func:`seen_once` measures in the body, and sessions; both are gone at the end.

    On 30,000 indexes reading their catalogs takes longer than any diagnosis of them.
    """
    token = _look.set({})
    try:
        with kept_sessions(), _rare_collections():
            yield
    finally:
        _look.reset(token)


@contextmanager
def _rare_collections() -> Iterator[None]:
    """Have Python look for cycles less often: what is measured lives to the end of the look.

    Looking through some hundred thousand rows again and again took a fifth of the time.
    """
    usual = gc.get_threshold()
    gc.set_threshold(ALLOCATIONS_A_COLLECTION, *usual[1:])
    try:
        yield
    finally:
        gc.set_threshold(*usual)


def seen_once(
    conn: Connection, what: Hashable, measure: Callable[[], MeasurementT]
) -> MeasurementT:
    """Return ``measure()``, or what it returned before in this look at the same database.

    ``what`` names the measurement together with all that it depends on beside the database and the
    role. What is measured has to be immutable. A measurement that fails is not kept.
    """
    seen = _look.get()
    if seen is None:
        return measure()
    key = (address_of(conn), conn.info.user, what)
    if key not in seen:
        seen[key] = measure()
    found: MeasurementT = seen[key]
    return found
