"""Secrets from files, as containers and systemd hand them over: ``NAME_FILE`` in place of ``NAME``.

The content of the file becomes the variable of this process, and of what it starts. It stands neither in
the container's configuration nor in the unit.
"""

import os
from collections.abc import MutableMapping
from pathlib import Path
from urllib.parse import quote, urlsplit, urlunsplit

from maintenance.core.errors import ConfigurationError

SUFFIX = "_FILE"
#: What names servers: the service's own, and those of the site that it looks after.
OF_SERVERS = (
    "DATABASE_URL",
    "DATABASE_PASSWORD",
    "REDIS_URL",
    "REDIS_PASSWORD",
    "CELERY_BROKER_URL",
    "CELERY_BROKER_PASSWORD",
    "CELERY_BROKER_SENTINEL_PASSWORD",
    "SITE_DATABASE_URL",
    "SITE_REDIS_URL",
)
#: What may come from a file. A password goes into the address beside it.
NAMES = (
    *OF_SERVERS,
    "DJANGO_SECRET_KEY",
    "FLOWER_PASSWORD",
    "EMAIL_HOST_PASSWORD",
    "OPS_CHAT_URL",
    "MAINTENANCE_METRICS_TOKEN",
    "MAINTENANCE_READ_TOKEN",
    "MAINTENANCE_RUN_TOKEN",
)
ADDRESSES = {
    "DATABASE_PASSWORD": "DATABASE_URL",
    "REDIS_PASSWORD": "REDIS_URL",
    "CELERY_BROKER_PASSWORD": "CELERY_BROKER_URL",
}


def adopt_secret_files(environment: MutableMapping[str, str] = os.environ) -> None:
    """Put what the files hold into ``environment``, and passwords into their addresses.

    A file that is empty counts as not there; so does a variable. Raises ``ConfigurationError`` for a file
    that cannot be read, and where a secret is given both ways with different values.
    """
    for name in NAMES:
        path = environment.get(name + SUFFIX)
        if path:
            _adopt(environment, name, Path(path))
    for password, address in ADDRESSES.items():
        if environment.get(password) and environment.get(address):
            environment[address] = with_password(environment[address], environment[password])


def _adopt(environment: MutableMapping[str, str], name: str, path: Path) -> None:
    try:
        value = path.read_text().strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise ConfigurationError(
            f"The secret file {path}, named by {name}{SUFFIX}, cannot be read: {reason}."
            f" Create it, or unset {name}{SUFFIX}."
        ) from None
    given = environment.get(name)
    # An address that was adopted before has its password in it by now: the parent's is the same.
    if given and value and given != value and without_password(given) != without_password(value):
        raise ConfigurationError(
            f"Both {name} and {name}{SUFFIX} are set, and they differ. Unset one of them."
        )
    if value and not given:
        environment[name] = value


def with_password(url: str, password: str) -> str:
    """Return the address with the password in it, whatever its letters."""
    parts = urlsplit(url)
    place = parts.netloc.rpartition("@")[2]
    user = parts.netloc.rpartition("@")[0].partition(":")[0]
    return urlunsplit(parts._replace(netloc=f"{user}:{quote(password, safe='')}@{place}"))


def without_password(url: str) -> str:
    """Return an address without its password; any other text is itself."""
    if "://" not in url:
        return url
    parts = urlsplit(url)
    user, at, place = parts.netloc.rpartition("@")
    return urlunsplit(parts._replace(netloc=f"{user.partition(':')[0]}{at}{place}"))
