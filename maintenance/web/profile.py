"""The queries of one request or task, counted while they run.

A wrapper stands on every connection (``connection.execute_wrapper`` is Django's interface for that)
from the moment it is opened, and counts into the profile of the context that asks, if there is one:
a request under ASGI meets its connections in threads that its middleware never sees. Parameters are
passed on and never looked at. Memory is bounded by :data:`MAXIMUM_GROUPS`, whatever a request does.
"""

import asyncio
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from time import perf_counter
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created

from maintenance.web.call_sites import CallSite, awaiting_site, call_site
from maintenance.web.lookups import lookup_of
from maintenance.web.relations import Lookup
from maintenance.web.statements import MAXIMUM_TEXT, SAVEPOINTS, shape

#: Statements of one request that are told apart as they were sent; further ones are told apart by
#: their shape, which takes some 30 microseconds each, up to as many again.
MAXIMUM_GROUPS = 300

#: From QueryProfile.add() up to who sent the query: itself, and the wrapper that calls it.
_FRAMES_OF_OURS = 2

Execute = Callable[[Any, Any, bool, dict[str, Any]], Any]


class QueryGroup:
    """Calls of one statement from one line. Times are seconds; ``rows`` counts what came back.

    ``most_rows`` is of one call, and 0 for a cursor on the server (``iterator()``), which does not
    know.
    """

    __slots__ = ("alias", "calls", "lookup", "most_rows", "rows", "seconds", "slowest_seconds")

    def __init__(self, alias: str) -> None:
        self.alias = alias
        self.calls = 0
        self.seconds = 0.0
        self.slowest_seconds = 0.0
        self.rows = 0
        self.most_rows = 0
        self.lookup: Lookup | None = None


class QueryProfile:
    """What one request or task asked of its databases.

    ``groups`` are by statement and line. ``failures`` are statements that raised. ``left_out``
    calls found no room and are in the totals alone, ``uncounted`` ones met a fault of this module and
    are nowhere. ``task`` is the asynchronous view's, which a
    query's own thread does not know.
    """

    def __init__(self, task: "asyncio.Task[Any] | None" = None) -> None:
        self.groups: dict[tuple[str, str, int], QueryGroup] = {}
        self.started_at = perf_counter()
        self.calls = 0
        self.seconds = 0.0
        self.savepoints = 0
        self.failures = 0
        self.left_out = 0
        self.uncounted = 0
        self._task = task
        self._lock = threading.Lock()
        self._shapes = 0

    def add(self, statement: Any, seconds: float, context: dict[str, Any], *, failed: bool) -> None:
        """Count one call, which was asked for by the caller's caller."""
        text = statement if type(statement) is str else _text_of(statement)
        file, line = call_site(text, _FRAMES_OF_OURS)
        if not line and self._task is not None:
            file, line = awaiting_site(self._task)
        asked = text, file, line
        with self._lock:
            self.calls += 1
            self.seconds += seconds
            group = self.groups.get(asked)
            if group is None:
                group = self._new_group(text, (file, line), context)
                if group is None:
                    return
            group.calls += 1
            group.seconds += seconds
            if seconds > group.slowest_seconds:  # noqa: PLR1730 - max() takes three times as long
                group.slowest_seconds = seconds
            if failed:
                self.failures += 1
                return
            rows = context["cursor"].cursor.rowcount
            if rows > 0:
                group.rows += rows
                if rows > group.most_rows:  # noqa: PLR1730 - the same
                    group.most_rows = rows
            # The first call of a statement is mostly its only one, and not worth a second look.
            if group.calls == 2:
                group.lookup = lookup_of(asked, _FRAMES_OF_OURS)

    def _new_group(self, text: str, site: CallSite, context: dict[str, Any]) -> QueryGroup | None:
        """Return the group of a statement that was not met as it is; ``None`` without room."""
        if text.startswith(SAVEPOINTS):
            self.savepoints += 1
            return None
        if len(self.groups) - self._shapes >= MAXIMUM_GROUPS or len(text) > MAXIMUM_TEXT:
            text = shape(text)
            known = self.groups.get((text, *site))
            if known is not None:
                return known
            if self._shapes >= MAXIMUM_GROUPS:
                self.left_out += 1
                return None
            self._shapes += 1
        group = self.groups[(text, *site)] = QueryGroup(context["connection"].alias)
        return group


def _text_of(statement: Any) -> str:
    """Return a statement that is no text: some drivers take objects, which may hold values."""
    return statement.decode(errors="replace") if isinstance(statement, bytes) else "(composed)"


_profile: ContextVar[QueryProfile | None] = ContextVar("query_profile", default=None)


def _count(
    execute: Execute, statement: Any, parameters: Any, many: bool, context: dict[str, Any]
) -> Any:
    """Run a statement, and count it where somebody profiles."""
    profile = _profile.get()
    if profile is None:
        return execute(statement, parameters, many, context)
    failed = True
    started = perf_counter()
    try:
        result = execute(statement, parameters, many, context)
        failed = False
        return result
    finally:
        seconds = perf_counter() - started
        try:
            profile.add(statement, seconds, context, failed=failed)
        except Exception:  # noqa: BLE001 - a site must not fail for being watched
            profile.uncounted += 1


def _watch(connection: BaseDatabaseWrapper, **_kwargs: object) -> None:
    # In front: whoever added one for a while takes the last one away again.
    if _count not in connection.execute_wrappers:
        connection.execute_wrappers.insert(0, _count)


def watch_connections() -> None:
    """Put the wrapper on every connection of this process: those that are open, and later ones.

    Costs a query half a microsecond where nobody profiles. May be called again.
    """
    connection_created.connect(
        lambda connection, **_: _watch(connection),
        weak=False,
        dispatch_uid="maintenance.query_profile",
    )
    for connection in connections.all(initialized_only=True):
        _watch(connection)


@contextmanager
def counting(profile: QueryProfile) -> Iterator[None]:
    """Count the queries of the body into ``profile``, and no longer into the one around it."""
    token = _profile.set(profile)
    try:
        yield
    finally:
        _profile.reset(token)
