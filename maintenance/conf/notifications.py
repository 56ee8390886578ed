"""Who is told what: digests, and alarms at once."""

import re
from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import AfterValidator, Field

from maintenance.conf.access import TokenReference
from maintenance.conf.references import resolve_secret
from maintenance.conf.values import Section

#: The channel of Django's own mail. Apprise's are named ``apprise.`` and what the configuration calls them.
MAIL = "mail"
APPRISE_PREFIX = "apprise."

# One address; what is right beyond that, only its mail server knows.
_ADDRESS = re.compile(r"[^\s@<>,;]+@[^\s@<>,;]+")


def _an_address(text: str) -> str:
    if _ADDRESS.fullmatch(text):
        return text
    raise ValueError('must be one mail address, as "ops@example.org"')


def _an_address_or_none(text: str) -> str:
    return _an_address(text) if text else text


def _a_base_url(text: str) -> str:
    if not text or text.startswith(("https://", "http://")):
        return text.rstrip("/")
    raise ValueError('must be where people reach the admin, as "https://ops.example.org"')


Address = Annotated[str, AfterValidator(_an_address)]


class NotificationSettings(Section):
    """Nobody is told of anything until ``recipients`` or ``apprise`` name somebody.

    Mail goes the way that Django's ``EMAIL_*`` settings say, from ``sender`` or DEFAULT_FROM_EMAIL.
    The URLs of Apprise are secrets, and references only.
    """

    recipients: tuple[Address, ...] = ()
    sender: Annotated[str, AfterValidator(_an_address_or_none)] = ""
    apprise: Mapping[str, TokenReference] = Field(default_factory=dict)
    digests: tuple[Literal["daily", "weekly"], ...] = ("daily", "weekly")
    digest_severity: Literal["info", "warning", "critical"] = "warning"
    alarm_severity: Literal["warning", "critical"] = "critical"
    base_url: Annotated[str, AfterValidator(_a_base_url)] = ""
    # One that comes and goes every few minutes is worth a message an hour; a failure of everything
    # is worth ten and a summary, not two hundred.
    alarm_period_minutes: int = Field(default=60, ge=1, le=7 * 24 * 60)
    alarms_per_hour: int = Field(default=10, ge=1)

    @property
    def channels(self) -> tuple[str, ...]:
        """The names of all ways on which a message goes out."""
        mail = (MAIL,) if self.recipients else ()
        return (*mail, *(f"{APPRISE_PREFIX}{name}" for name in sorted(self.apprise)))

    def apprise_url(self, channel: str) -> str:
        """Return the URL of one channel, a secret. Raises ``ConfigurationError``."""
        return resolve_secret(self.apprise[channel.removeprefix(APPRISE_PREFIX)])
