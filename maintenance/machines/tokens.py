"""Bearer tokens: who may ask, and what everybody else is told."""

import logging
import threading
import time
from collections.abc import Callable
from functools import wraps
from secrets import compare_digest
from typing import Concatenate, ParamSpec

from django.contrib.auth.decorators import login_not_required
from django.http import HttpRequest, HttpResponse, HttpResponseBase, JsonResponse
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_exempt

from maintenance.conf import configuration
from maintenance.core.errors import ConfigurationError

logger = logging.getLogger("maintenance.machines")

#: Anybody may ask for a page that is closed: its fault is logged at most so often.
LOGGED_AGAIN_SECONDS = 60.0

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def refused(status: int, sentence: str) -> HttpResponse:
    """Return an error as the API words it: one sentence."""
    answer = JsonResponse({"error": sentence}, status=status)
    if status == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="maintenance"'
    return answer


class _ClosedPages:
    """Says in the log which pages an unreadable token closes, not at each request for them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._quiet_until: dict[tuple[str, str], float] = {}

    def log(self, request: HttpRequest, error: ConfigurationError) -> None:
        """Log by the name of the page: its address is what a stranger wrote."""
        match = request.resolver_match
        page, fault = match.view_name if match else "A page", str(error)
        now = time.monotonic()
        with self._lock:
            if now < self._quiet_until.get((page, fault), float("-inf")):
                return
            self._quiet_until[page, fault] = now + LOGGED_AGAIN_SECONDS
        logger.error("%s is closed: %s", page, fault)

    def forget(self) -> None:
        """Log each fault anew."""
        with self._lock:
            self._quiet_until.clear()


closed_pages = _ClosedPages()


def with_token(*names: str) -> Callable[[View[P]], View[P]]:
    """Open a view to whoever has one of these tokens of the section ``access``.

    Without any of them configured there is no such page (404). One that cannot be read is an error of the
    operator: 503, and its sentence in the log. A token stands in a header, which no other site can make a
    browser send: the view needs no protection against forged requests. Programs have no login, and where the
    project demands one for every page (``LoginRequiredMiddleware``), this one is left out.
    """

    def decorate(view: View[P]) -> View[P]:
        @login_not_required
        @csrf_exempt
        @never_cache
        @wraps(view)
        def guarded(request: HttpRequest, /, *args: P.args, **kwargs: P.kwargs) -> HttpResponseBase:
            try:
                tokens = _tokens(names)
            except ConfigurationError as error:
                closed_pages.log(request, error)
                return refused(503, "The token of this page cannot be read; the log says why.")
            if not tokens:
                return refused(404, "There is no such page.")
            if not _is_among(_given(request), tokens):
                return refused(401, "Send the token: Authorization: Bearer <token>.")
            return view(request, *args, **kwargs)

        return guarded

    return decorate


def _tokens(names: tuple[str, ...]) -> list[str]:
    access = configuration().access
    resolved = (access.resolved(name) for name in names)
    return [token for token in resolved if token]


def _given(request: HttpRequest) -> str:
    scheme, _space, token = request.headers.get("Authorization", "").partition(" ")
    return token.strip() if scheme.lower() == "bearer" else ""


def _is_among(given: str, tokens: list[str]) -> bool:
    """Compare with every token, each in a time that does not tell how much of it fits."""
    fits = [compare_digest(given.encode(), token.encode()) for token in tokens]
    return any(fits)
