"""What a page of the service may load: only the service's own files, so that markup from elsewhere runs nothing."""

from collections.abc import Callable

from django.http import HttpRequest
from django.http.response import HttpResponseBase

HEADER = "Content-Security-Policy"
POLICY = "default-src 'self'; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'"

#: django-celery-beat's form has a script in its text, which says what a crontab means.
WITH_SCRIPTS_IN_TEXT = frozenset(
    f"admin:django_celery_beat_periodictask_{page}" for page in ("add", "change")
)


class ContentPolicy:
    """Middleware that sends a strict policy with every answer that has none of its own."""

    def __init__(self, get_response: Callable[[HttpRequest], HttpResponseBase]) -> None:
        self._get_response = get_response

    def __call__(self, request: HttpRequest) -> HttpResponseBase:
        response = self._get_response(request)
        response.headers.setdefault(HEADER, policy_of(request))
        return response


def policy_of(request: HttpRequest) -> str:
    """Return the policy of the page that a request has led to."""
    match = request.resolver_match
    if match is not None and match.view_name in WITH_SCRIPTS_IN_TEXT:
        return f"{POLICY}; script-src 'self' 'unsafe-inline'"
    return POLICY
