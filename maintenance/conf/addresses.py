"""Where a Redis server is, however its URL is written: targets that share one are known by it."""

from urllib.parse import SplitResult, parse_qs, urlsplit

from maintenance.conf.references import resolve_secret
from maintenance.core.errors import ConfigurationError

#: Host and port; "unix" and the path of a socket; or what could not be read, and nothing.
Address = tuple[str, int | str | None]

_LOOPBACK = frozenset({"localhost", "::1"})


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
        parts = urlsplit(resolve_secret(reference))
        _ = parts.port  # one that is no number is told here
    except (ConfigurationError, ValueError):
        return None
    return parts
