"""``QueryProfilingMiddleware``: counts the queries of each request, and writes what stands out.

::

    ENABLE_QUERY_PROFILING = True
    QUERY_PROFILE_THRESHOLD_MS = 1000
    QUERY_COUNT_THRESHOLD = 50

    MIDDLEWARE += ["maintenance.web.query_profiler.QueryProfilingMiddleware"]

For views of both kinds, under WSGI and ASGI. A view that runs queries while its response is being
streamed is profiled to the end of the stream. See docs/query_profiling.md.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction
from django.core.exceptions import MiddlewareNotUsed
from django.http import FileResponse, HttpRequest
from django.http.response import HttpResponseBase

from maintenance.web.logger_names import REQUEST_LOGGER
from maintenance.web.performance_logging import is_sampled, logger_named, write
from maintenance.web.profile import QueryProfile, counting, watch_connections
from maintenance.web.profiling_settings import ProfilingSettings

GetResponse = Callable[[HttpRequest], HttpResponseBase | Awaitable[HttpResponseBase]]


class QueryProfilingMiddleware:
    """Profiles the queries of what stands below it: the view, and later middleware."""

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        """Raise ``MiddlewareNotUsed``, which costs nothing, where profiling is not enabled."""
        self._rules = ProfilingSettings.current()
        if not self._rules.enabled:
            raise MiddlewareNotUsed("ENABLE_QUERY_PROFILING is off")
        self._get_response: Callable[[HttpRequest], Any] = get_response
        self._logger = logger_named(REQUEST_LOGGER)
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)
        watch_connections()

    def __call__(self, request: HttpRequest) -> Any:
        """Answer the request; under ASGI return a coroutine that does."""
        if not is_sampled(self._rules):
            return self._get_response(request)
        if self._is_async:
            return self._answer_later(request)
        profile = QueryProfile()
        response: HttpResponseBase | None = None
        try:
            with counting(profile):
                response = self._get_response(request)
        finally:
            self._finish(request, response, profile)
        return response

    async def _answer_later(self, request: HttpRequest) -> HttpResponseBase:
        profile = QueryProfile(asyncio.current_task())
        response: HttpResponseBase | None = None
        try:
            with counting(profile):
                response = await self._get_response(request)
        finally:
            self._finish(request, response, profile)
        return response

    def _finish(
        self, request: HttpRequest, response: HttpResponseBase | None, profile: QueryProfile
    ) -> None:
        """Write the profile, or have it written when the response has been streamed."""
        stream = getattr(response, "streaming_content", None)
        # A file is left to the server, which may have its own way to send it.
        if stream is None or isinstance(response, FileResponse):
            self._write(request, response, profile)
            return

        def written() -> None:
            self._write(request, response, profile)

        assert response is not None  # it has a stream
        response.streaming_content = (  # type: ignore[attr-defined]
            _profiled_later(stream, profile, written)
            if getattr(response, "is_async", False)
            else _profiled(stream, profile, written)
        )

    def _write(
        self, request: HttpRequest, response: HttpResponseBase | None, profile: QueryProfile
    ) -> None:
        match = request.resolver_match
        view = getattr(match, "func", None)
        facts = {
            "kind": "request",
            # The route and not the path, which may name a person.
            "name": f"{request.method} {match.route if match is not None else '(no route)'}",
            "view": f"{getattr(view, '__module__', '')}.{getattr(view, '__qualname__', '')}".strip(
                "."
            ),
            "status": getattr(response, "status_code", None),
        }
        write(profile, self._rules, self._logger, facts)


def _profiled(
    stream: Iterable[bytes], profile: QueryProfile, written: Callable[[], None]
) -> Iterator[bytes]:
    """Pass a stream on; between two parts the server's own work is not the view's."""
    parts = iter(stream)
    try:
        while True:
            with counting(profile):
                part = next(parts, None)
            if part is None:
                return
            yield part
    finally:
        close = getattr(parts, "close", None)
        if close is not None:
            close()
        written()


async def _profiled_later(
    stream: AsyncIterator[bytes], profile: QueryProfile, written: Callable[[], None]
) -> AsyncIterator[bytes]:
    parts = aiter(stream)
    try:
        while True:
            with counting(profile):
                part = await anext(parts, None)
            if part is None:
                return
            yield part
    finally:
        written()
