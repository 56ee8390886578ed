"""Where a Redis server is, however its URL is written: targets that share one are known by it."""

import re
from urllib.parse import SplitResult, parse_qs, urlsplit

from maintenance.conf.references import resolve_secret
from maintenance.core.errors import ConfigurationError

#: Host and port; "unix" and the path of a socket; or what could not be read, and nothing.
Address = tuple[str, int | str | None]

_LOOPBACK = frozenset({"localhost", "::1"})


def redis_url(reference: str) -> str:
    """Return the URL behind a reference as redis-py reads it, also where a site wrote it for Celery.

    Celery has ``redis+socket://`` for a socket, with the database as ``virtual_host``, and names of
    Python's ssl module for ``ssl_cert_reqs``. Raises :class:`ConfigurationError` as ``resolve_secret``.
    """
    url = resolve_secret(reference)
    if url.startswith("redis+socket://"):
        url = re.sub(r"([?&])virtual_host=/?", r"\1db=", "unix://" + url.partition("://")[2])
    if not url.startswith("rediss://"):
        return url
    return re.sub(
        r"([?&]ssl_cert_reqs=)CERT_(NONE|OPTIONAL|REQUIRED)\b",
        lambda found: found[1] + found[2].lower(),
        url,
    )


def server_address(reference: str) -> Address:
    """Return host and port, or the socket's path, of a Redis URL or a reference to one.

    What cannot be read is an address of its own: the target that needs it says so itself.
    """
    parts = _parts(reference)
    if parts is None:
        return reference, None
    if parts.scheme == "unix":
        return "unix", parts.path
    host = parts.hostname or "localhost"
    return "127.0.0.1" if host in _LOOPBACK else host, parts.port or 6379


def database_number(reference: str) -> int:
    """Return the database that a Redis URL names; 0 for one that names none, or cannot be read."""
    parts = _parts(reference)
    if parts is None:
        return 0
    named = parse_qs(parts.query).get("db", [""])[-1]
    if not named and parts.scheme != "unix":
        named = parts.path.strip("/")
    return int(named) if named.isdecimal() else 0


def database_of(reference: str) -> tuple[Address, int]:
    """Return the address of the server and the number of the database: they name a set of keys."""
    return server_address(reference), database_number(reference)


def _parts(reference: str) -> SplitResult | None:
    try:
        parts = urlsplit(redis_url(reference))
        _ = parts.port  # one that is no number is told here
    except (ConfigurationError, ValueError):
        return None
    return parts
