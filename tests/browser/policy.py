"""The strictest policy that a site may have: the pages must work under it."""

from collections.abc import Callable

from django.http import HttpRequest, HttpResponse


class StrictPolicy:
    """Middleware that sends ``Content-Security-Policy: default-src 'self'`` with every page."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponse]) -> None:
        self.get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponse:
        response = self.get_response(request)
        response.headers["Content-Security-Policy"] = "default-src 'self'; frame-ancestors 'none'"
        return response
