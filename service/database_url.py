"""The ledger's entry in DATABASES, from DATABASE_URL: read by libpq, as everything else that connects by it."""

from typing import Any

from maintenance.core.errors import ConfigurationError
from maintenance.core.runs.ledger_network import NOTICES_A_LOST_LEDGER
from maintenance.postgres.connection import parameters_of_dsn

_FORM = "Write it as postgres://user:password@host:port/dbname"


def ledger_entry(url: str) -> dict[str, Any]:
    """Return the entry; what is no name, login or address of the URL goes into its OPTIONS.

    Raises ``ConfigurationError`` for what libpq cannot read, with nothing of it, and where no database is named.
    """
    given = _parameters(url)
    host = given.pop("host", "")
    if "@" in host[1:]:  # at the beginning it means an abstract socket
        raise _unreadable()
    name = given.pop("dbname", "")
    if not name and "service" not in given:
        raise ConfigurationError(f"DATABASE_URL names no database. {_FORM}.")
    return {
        "ENGINE": "django.db.backends.postgresql",
        "NAME": name,
        "USER": given.pop("user", ""),
        "PASSWORD": given.pop("password", ""),
        "HOST": host,
        "PORT": given.pop("port", ""),
        "OPTIONS": {**NOTICES_A_LOST_LEDGER, **given},  # the URL goes first
        "CONN_MAX_AGE": 60,
        "CONN_HEALTH_CHECKS": True,
    }


def _parameters(url: str) -> dict[str, Any]:
    try:
        return parameters_of_dsn(url)
    except ConfigurationError:
        raise _unreadable() from None


def _unreadable() -> ConfigurationError:
    return ConfigurationError(
        f"DATABASE_URL cannot be read. {_FORM}, special characters of the password quoted"
        " (%2F for /, %3F for ?, %23 for #, %40 for @, %25 for %), and with parameters that libpq knows."
    )
