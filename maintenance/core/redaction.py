"""Keeping secrets out of everything that is printed, stored or sent."""

import re
from urllib.parse import urlsplit

# user:password@ in any URL; the password may itself hold an "@" that was not quoted. It begins at
# "://" and not at the scheme: looking for a scheme in a long word costs the square of its length.
_URL_CREDENTIALS = re.compile(r"(?P<separator>://)(?P<user>[^\s:/@]*):[^\s/]*@")
# libpq keyword strings, "password: x" of logs, DB_PASSWORD=x of environments, JSON. A quoted value
# may come in pieces ('it''s') and ends at a bracket; what was redacted before counts as quoted.
_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"|\*\*\*"
_PASSWORD_ASSIGNMENT = re.compile(
    r"(?P<key>(?:\b|_)(?:password|passwd|pwd|secret(?:[_-]key)?|token|requirepass|sslpassword)\b"
    r"[\"']?\s*[=:]\s*)"
    rf"(?:(?:{_QUOTED})(?:{_QUOTED}|[^\s,;&)}}\]])*|[^\s,;&)]+)",
    re.IGNORECASE,
)
# ALTER ROLE ... PASSWORD 'x' and OPTIONS (password 'x'), as pg_stat_statements keeps them.
_PASSWORD_LITERAL = re.compile(r"(?P<key>\bpassword\s+)E?'(?:[^'\\]|\\.|'')*'", re.IGNORECASE)

# Each of the three needs one of these. Reports are full of names that have none.
_SIGNS_OF_A_PASSWORD = re.compile("[:=']")


def redact(text: str) -> str:
    """Replace every password in ``text`` by ``***``. Applying it twice changes nothing more."""
    if not _SIGNS_OF_A_PASSWORD.search(text):
        return text
    while True:
        cleaned = _URL_CREDENTIALS.sub(r"\g<separator>\g<user>:***@", text)
        cleaned = _PASSWORD_ASSIGNMENT.sub(r"\g<key>***", cleaned)
        cleaned = _PASSWORD_LITERAL.sub(r"\g<key>'***'", cleaned)
        if cleaned == text:
            return text
        text = cleaned  # what was taken away may have hidden another one


def address_of(url: str) -> str:
    """Return the URL without its credentials and query: what a person needs to find the server.

    Several hosts with their ports stay as they are. What is no URL comes back redacted.
    """
    try:
        parts = urlsplit(url)
    except ValueError:  # an IPv6 address with one bracket
        return redact(url)
    if "://" not in url:
        return redact(url)
    hosts = parts.netloc.rpartition("@")[2]
    return redact(f"{parts.scheme}://{hosts}{parts.path}")
