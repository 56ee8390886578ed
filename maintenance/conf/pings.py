"""Who is told that scheduled runs start and end: healthchecks.io, or whatever speaks its protocol."""

from fnmatch import fnmatchcase
from typing import Annotated

from pydantic import AfterValidator, Field

from maintenance.conf.references import resolve_secret
from maintenance.conf.values import Section
from maintenance.core.errors import ConfigurationError


def _over_http(text: str) -> str:
    if text.partition(":")[0] in {"env", "file"} or text.startswith(("https://", "http://")):
        return text
    raise ValueError('must be a URL ("https://...") or a reference "env:NAME"')


class PingTarget(Section):
    """A check that is pinged for runs of the ``schedules`` whose names fit one of these patterns.

    Names are as lists show them: ``weekly report_table_bloat on library``.
    Who knows ``url`` can say that all is well: give it by reference.
    """

    url: Annotated[str, AfterValidator(_over_http)]
    schedules: tuple[str, ...] = Field(default=("*",), min_length=1)
    timeout_seconds: float = Field(default=5, gt=0, le=60)

    def fits(self, schedule: str) -> bool:
        """Tell whether it is pinged for runs of this schedule."""
        return any(fnmatchcase(schedule, pattern) for pattern in self.schedules)

    def resolved_url(self) -> str:
        """Return the URL with its secret. Raises ``ConfigurationError``."""
        url = resolve_secret(self.url)
        if not url.startswith(("https://", "http://")):
            raise ConfigurationError("The URL of a ping must begin with https:// or http://.")
        return url
