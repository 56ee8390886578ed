"""Keeping secrets out of everything that is printed, stored or sent."""

import re
from urllib.parse import urlsplit, urlunsplit

# user:password@ in any URL; the password may itself hold an "@" that was not quoted.
_URL_CREDENTIALS = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*://)(?P<user>[^\s:/@]*):[^\s/]*@", re.IGNORECASE
)
# libpq keyword strings and the usual "password: x" / "password=x" of logs.
_PASSWORD_ASSIGNMENT = re.compile(
    r"(?P<key>\b(?:password|passwd|pwd|secret|token|requirepass|sslpassword)\b[\"']?\s*[=:]\s*)"
    r"(?:'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|[^\s,;&)]+)",
    re.IGNORECASE,
)


def redact(text: str) -> str:
    """Replace every password in ``text`` by ``***``. Applying it twice changes nothing more."""
    text = _URL_CREDENTIALS.sub(r"\g<scheme>\g<user>:***@", text)
    return _PASSWORD_ASSIGNMENT.sub(r"\g<key>***", text)


def address_of(url: str) -> str:
    """Return the URL without its credentials and query: what a person needs to find the server."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    if ":" in host:
        host = f"[{host}]"
    port = f":{parts.port}" if parts.port else ""
    return urlunsplit((parts.scheme, f"{host}{port}", parts.path, "", ""))
