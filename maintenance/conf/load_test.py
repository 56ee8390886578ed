"""Load tests as targets: which host, which pages, how much at the most, and when to stop."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from maintenance.conf.databases import Dangerous, MaintenanceWindow
from maintenance.conf.references import resolve_secret
from maintenance.conf.values import Ratio, Section, Url

_HOST = re.compile(r"(?:\[[0-9a-f:.]+\]|[a-z0-9](?:[a-z0-9.-]*[a-z0-9])?)(?::[0-9]{1,5})?")


def _a_host(text: str) -> str:
    if _HOST.fullmatch(text.lower()):
        return text.lower()
    raise ValueError(f'"{text}" is no host: write "staging.example.org" or "127.0.0.1:8000"')


def is_page_path(text: str) -> bool:
    """Tell whether a text is a path that can be asked for as it stands.

    Two slashes begin the name of another host, and a browser leaves out what follows a "#".
    """
    return bool(re.fullmatch(r"/(?!/)[!-~]*", text)) and "#" not in text and "\\" not in text


def _a_path(text: str) -> str:
    if is_page_path(text):
        return text
    raise ValueError(f'"{text}" is no path of the site: write "/book/1?page=2"')


Host = Annotated[str, AfterValidator(_a_host)]
PagePath = Annotated[str, AfterValidator(_a_path)]
#: How often a page is asked for beside the others; "log" is as often as the access log says.
Weight = Annotated[float, Field(gt=0)] | Literal["log"]


class LoadTestTarget(Section):
    """A load test of the site at ``url``, whose host has to stand in ``allowed_hosts``.

    ``pages`` are paths and their weights. Without any, they are the routes of ``log`` (a name under
    ``logs``) that have no variable part, as often as visitors asked for them. ``headers`` are sent
    with every request; a value may be a reference (``"env:STAGING_LOGIN"``).

    It ends after ``duration_seconds``, after ``maximum_requests``, or once, of the last requests, a
    share of ``abort_error_ratio`` had failed or one in a hundred took longer than ``abort_p99_ms``.
    """

    url: Url
    allowed_hosts: tuple[Host, ...] = ()
    allow: tuple[Dangerous, ...] = ()
    windows: tuple[MaintenanceWindow, ...] = ()
    log: str = ""
    pages: Mapping[PagePath, Weight] = Field(default_factory=dict)
    headers: Mapping[str, str] = Field(default_factory=dict)
    users: int = Field(default=10, ge=1, le=500)
    # A visitor reads for seconds: ten users at one request a second are some fifty visitors.
    requests_per_second: float = Field(default=10, gt=0, le=1000)  # of all users together
    ramp_seconds: float = Field(default=10, ge=0, le=600)
    duration_seconds: float = Field(default=60, ge=1, le=1800)  # the ramp included
    maximum_requests: int = Field(default=10_000, ge=1, le=1_000_000)
    timeout_seconds: float = Field(default=10, gt=0, le=60)
    # Ten times the guide's target for errors, and three times that for the p99: a site that is so
    # far beyond what it should bear has given its answer.
    abort_error_ratio: Ratio = 0.10
    abort_p99_ms: float = Field(default=3000, gt=0)

    @model_validator(mode="after")
    def _has_pages(self) -> Self:
        if not self.pages and not self.log:
            raise ValueError('give "pages" (paths and their weights), or "log" (a name under logs)')
        if "log" in self.pages.values() and not self.log:
            raise ValueError('a page whose weight is "log" needs "log" (a name under logs)')
        return self

    def resolved_url(self) -> str:
        """Return the URL with its secret. Raises ``ConfigurationError``."""
        return resolve_secret(self.url)

    def resolved_headers(self) -> dict[str, str]:
        """Return the headers with their secrets. Raises ``ConfigurationError``."""
        return {name: resolve_secret(value) for name, value in self.headers.items()}
