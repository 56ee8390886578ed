"""Bearer tokens: who may ask, and what everybody else is told."""

import logging
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

P = ParamSpec("P")
View = Callable[Concatenate[HttpRequest, P], HttpResponseBase]


def refused(status: int, sentence: str) -> HttpResponse:
    """Return an error as the API words it: one sentence."""
    answer = JsonResponse({"error": sentence}, status=status)
    if status == 401:
        answer.headers["WWW-Authenticate"] = 'Bearer realm="maintenance"'
    return answer


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
                logger.error("%s is closed: %s", request.path, error)
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
