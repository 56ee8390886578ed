"""Rendering of cached pages through the whole site, so that its own middleware stores them.

The request goes through Django's WSGI handler in this process and not over HTTP. Either way every
middleware takes part, the page's key has the scheme and host of its URL, and ``Vary`` is learned
from the response. But over HTTP a page that is still cached would be answered from the cache: it
could be warmed only after it has gone cold, and visitors would wait for it meanwhile. Here the old
page is hidden from this one request, stays for everybody else, and is replaced once the new one is
there. It also takes no worker of the web server from a visitor.
"""

import io
import sys
from collections.abc import Callable, Iterable
from copy import copy
from dataclasses import dataclass, field
from functools import cache as remembered
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_to_bytes, urlsplit

from django.core.cache import caches
from django.core.cache.backends.base import BaseCache
from django.core.handlers.wsgi import WSGIHandler

from maintenance.caching.warmers import PageRequest

_PAGE_KEY = "views.decorators.cache.cache_page."
_HEADER_KEY = "views.decorators.cache.cache_header."
#: A visitor without a session sends none either.
_NEED_NOT_BE_SENT = {"HTTP_COOKIE"}

if TYPE_CHECKING:
    _Base = BaseCache
else:
    _Base = object

#: Says of a page's key whether the stored page is to be rendered anew.
IsDue = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class PageAnswer:
    """What came of one request. ``was_stored`` is whether the page was there before.

    ``stored_keys`` are those that the middleware wrote; ``varies_on`` the learned headers that the
    request did not have, under which visitors look for other pages.
    """

    status: int
    was_stored: bool
    stored_keys: tuple[str, ...]
    varies_on: tuple[str, ...] = ()

    @property
    def problem(self) -> str:
        """Why nothing was stored; empty where it was, or where the page is warm as it is."""
        if self.status != HTTPStatus.OK:
            return f"it answered with status {self.status}"
        if not self.stored_keys and not self.was_stored:
            return (
                "its response was not stored: no cache_page, Cache-Control: private, a cookie that"
                " it sets, or another cache"
            )
        return ""


@dataclass(slots=True)
class _Seen:
    """What the middleware asked for and stored while one page was rendered."""

    is_due: IsDue
    was_stored: bool = False
    stored_keys: list[str] = field(default_factory=list)
    varies_on: set[str] = field(default_factory=set)

    def learn(self, key: Any, value: Any) -> None:
        if str(key).startswith(_HEADER_KEY) and value is not None:
            self.varies_on = set(value)


class _HidesPages(_Base):
    """Put it before a backend's class: the cache answers as ever, but for stored pages that are due."""

    _seen: _Seen

    def get(self, key: Any, default: Any = None, version: int | None = None, **options: Any) -> Any:
        found = super().get(key, default, version, **options)
        if str(key).startswith(_PAGE_KEY) and found is not None:
            self._seen.was_stored = True
            return default if self._seen.is_due(str(key)) else found
        self._seen.learn(key, found)
        return found

    def set(self, key: Any, value: Any, *args: Any, **options: Any) -> Any:
        if str(key).startswith(_PAGE_KEY):
            self._seen.stored_keys.append(str(key))
        self._seen.learn(key, value)
        return super().set(key, value, *args, **options)


def _hiding(cache: BaseCache, seen: _Seen) -> BaseCache:
    """Return a copy of ``cache``, which views may use for all that a cache can do.

    It is of the backend's own class, not wrapped in another: ``key in cache`` asks the class, and so
    does whoever looks for the backend's server.
    """
    hiding = copy(cache)
    hiding.__class__ = type("HidesPages", (_HidesPages, type(cache)), {})
    hiding._seen = seen  # type: ignore[attr-defined]
    return hiding


def render_page(alias: str, page: PageRequest, is_due: IsDue) -> PageAnswer:
    """Ask the site for one page, as a visitor without cookies would.

    Call it in a thread of its own: Django's caches belong to a thread, and this one's ``alias``
    hides the pages that ``is_due``. An exception of the view is the site's own page of status 500.
    """
    seen = _Seen(is_due)
    caches[alias] = _hiding(caches[alias], seen)
    environ = environ_of(page)
    statuses: list[str] = []

    def start_response(
        status: str, _headers: object, _problem: object = None, /
    ) -> Callable[[bytes], object]:
        statuses.append(status)
        return io.BytesIO().write  # PEP 3333's old way to write, which Django does not use

    response: Iterable[bytes] = _handler()(environ, start_response)
    try:
        for _part in response:  # a page that is streamed is rendered while it is read
            pass
    finally:
        response.close()  # type: ignore[attr-defined]
    return PageAnswer(
        status=int(statuses[0].partition(" ")[0]),
        was_stored=seen.was_stored,
        stored_keys=tuple(seen.stored_keys),
        varies_on=tuple(sorted(seen.varies_on - set(environ) - _NEED_NOT_BE_SENT)),
    )


@remembered
def _handler() -> WSGIHandler:
    return WSGIHandler()


def environ_of(page: PageRequest) -> dict[str, Any]:
    """Return the WSGI environment of the request (PEP 3333)."""
    parts = urlsplit(page.url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    headers = {
        f"HTTP_{name.upper().replace('-', '_')}": value for name, value in page.headers.items()
    }
    return {
        "REQUEST_METHOD": "GET",
        "SCRIPT_NAME": "",
        "PATH_INFO": unquote_to_bytes(parts.path or "/").decode("latin-1"),
        "QUERY_STRING": parts.query,
        "SERVER_NAME": parts.hostname or "localhost",
        "SERVER_PORT": str(port),
        "SERVER_PROTOCOL": "HTTP/1.1",
        "REMOTE_ADDR": "127.0.0.1",
        "HTTP_HOST": parts.netloc.rpartition("@")[2],
        "HTTP_USER_AGENT": "maintenance-warmer",
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": parts.scheme,
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": True,
        "wsgi.run_once": False,
        **headers,
    }
