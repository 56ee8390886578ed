"""Which hosts a load test may reach: those that the operator wrote down, and no other."""

from collections.abc import Collection
from urllib.parse import urlsplit

_PORTS = {"http": 80, "https": 443}


class NotAllowed(Exception):
    """A URL leads to a host that is not on the list; the message says which."""


def require_allowed(url: str, allowed_hosts: Collection[str]) -> None:
    """Raise :class:`NotAllowed` for a URL whose host is not on the list.

    An entry is a host, on any port, or a host with its port. Names are compared as they are written:
    nothing stands for several hosts, and a name is not looked up.
    """
    parts = urlsplit(url)
    try:
        port = parts.port or _PORTS.get(parts.scheme)
    except ValueError:
        port = None
    if port is None or not parts.hostname:
        raise NotAllowed("this is no URL of a web server")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if not {host, f"{host}:{port}"} & set(allowed_hosts):
        raise NotAllowed(f"{host}:{port} is not one of allowed_hosts")
