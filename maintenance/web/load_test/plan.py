"""What a load test does: which pages how often, and where it ends. Pure."""

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from maintenance.conf import LoadTestTarget
from maintenance.conf.load_test import is_page_path
from maintenance.core.errors import ConfigurationError
from maintenance.web.routes import words_of

#: Of the routes of a log: more pages say nothing more about a site.
MAXIMUM_PAGES = 30
#: A GET should change nothing, and on some sites does: these words of a path are left to people, also
#: where a path has them in two ("log-out").
LEFT_ALONE = frozenset(
    {
        "logout",
        "logoff",
        "signout",
        "deactivate",
        "delete",
        "remove",
        "destroy",
        "unsubscribe",
        "unfollow",
        "cancel",
        "clear",
        "empty",
        "purge",
        "reset",
        "cron",
        "run",
        "export",
        "download",
        "import",
        "admin",
        "static",
        "media",
    }
)

_BETWEEN_WORDS = re.compile(r"[/._-]+")


@dataclass(frozen=True, slots=True)
class Page:
    """A path, and which share of the requests goes to it."""

    path: str
    share_ratio: float


@dataclass(frozen=True, slots=True)
class Plan:
    """All that the generator is told. Times in seconds; see ``LoadTestTarget`` for each field."""

    base_url: str
    allowed_hosts: tuple[str, ...]
    pages: tuple[Page, ...]
    users: int
    requests_per_second: float
    ramp_seconds: float
    duration_seconds: float
    maximum_requests: int
    timeout_seconds: float
    abort_error_ratio: float
    abort_p99_seconds: float
    headers: Mapping[str, str]

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values, headers with their secrets among them."""
        return asdict(self)

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Plan":
        """Rebuild a plan from :meth:`to_json`."""
        pages = tuple(Page(**page) for page in body["pages"])
        return cls(**{**body, "pages": pages, "allowed_hosts": tuple(body["allowed_hosts"])})


def plan_of(target: LoadTestTarget, route_requests: Mapping[str, float]) -> Plan:
    """Return the plan of a target; without pages where the log knows of none.

    ``route_requests`` says how often visitors asked for each route of the target's log. Raises
    ``ConfigurationError`` for a secret that is missing, and for a login in the URL.
    """
    parts = urlsplit(target.resolved_url())
    if "@" in parts.netloc:
        raise ConfigurationError(
            "The URL of a load test stands in its report: give its login under headers"
            ' (Authorization = "env:STAGING_LOGIN") and leave it out of the URL.'
        )
    return Plan(
        base_url=f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/')}",
        allowed_hosts=target.allowed_hosts,
        pages=pages_of(target, route_requests),
        users=target.users,
        requests_per_second=target.requests_per_second,
        ramp_seconds=min(target.ramp_seconds, target.duration_seconds),
        duration_seconds=target.duration_seconds,
        maximum_requests=target.maximum_requests,
        timeout_seconds=target.timeout_seconds,
        abort_error_ratio=target.abort_error_ratio,
        abort_p99_seconds=target.abort_p99_ms / 1000,
        headers=target.resolved_headers(),
    )


def pages_of(target: LoadTestTarget, route_requests: Mapping[str, float]) -> tuple[Page, ...]:
    """Return the pages with their shares, the most frequent first.

    A page whose route the log does not know is asked for as often as the rarest that it does.
    """
    if target.pages:
        given = {
            path: route_requests.get(route_of(path), 0.0) if weight == "log" else float(weight)
            for path, weight in target.pages.items()
        }
        rarest = min((weight for weight in given.values() if weight > 0), default=1.0)
        weights = {path: weight or rarest for path, weight in given.items()}
    else:
        fixed = {path: n for path, n in route_requests.items() if _may_be_asked_for(path)}
        most = sorted(fixed.items(), key=lambda item: (-item[1], item[0]))[:MAXIMUM_PAGES]
        weights = {path: n for path, n in most if n > 0}
    total = sum(weights.values())
    ordered = sorted(weights.items(), key=lambda item: (-item[1], item[0]))
    return tuple(Page(path, weight / total) for path, weight in ordered)


def route_of(path: str) -> str:
    """Return the route that the access log counts a path under."""
    words = words_of(path.partition("?")[0].encode())
    return "/" + "/".join(words or ())


def _may_be_asked_for(route: str) -> bool:
    """Tell whether a route is a page as it stands: no variable part, and nothing that acts."""
    words = _BETWEEN_WORDS.split(route.lower())
    said = {*words, *(first + second for first, second in pairwise(words))}
    return is_page_path(route) and "{" not in route and not LEFT_ALONE & said
