"""Keeping secrets out of everything that is printed, stored or sent."""

import re
from urllib.parse import urlsplit

# user:password@ in any URL; the password may itself hold an "@" that was not quoted. It begins at
# "://" and not at the scheme: looking for a scheme in a long word costs the square of its length.
_URL_CREDENTIALS = re.compile(r"(?P<separator>://)(?P<user>[^\s:/@]*):[^\s/]*@")
# The same with a "/", "?" or "#" in it that was not quoted. It ends at a quote, and where a list goes on with another
# URL, and is bounded, so that a long word without an "@" is not read again from each of its places.
_NEXT_URL = r"(?![,;|=\"'<>(\[{][A-Za-z][A-Za-z0-9+.]*://)"
_UNQUOTED_CREDENTIALS = re.compile(
    r"(?P<separator>://)(?P<user>[^\s:/@]*):"
    rf"(?P<password>(?:{_NEXT_URL}[^\s?#\"'<>]){{0,512}}@|(?:{_NEXT_URL}[^\s\"'<>]){{0,512}}@)"
)
_WEB = re.compile(r"https?\Z")
_PORT = re.compile(r"\d+[/?#]")
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
        cleaned = _UNQUOTED_CREDENTIALS.sub(_without_password, text)
        cleaned = _URL_CREDENTIALS.sub(r"\g<separator>\g<user>:***@", cleaned)
        cleaned = _PASSWORD_ASSIGNMENT.sub(r"\g<key>***", cleaned)
        cleaned = _PASSWORD_LITERAL.sub(r"\g<key>'***'", cleaned)
        if cleaned == text:
            return text
        text = cleaned  # what was taken away may have hidden another one


def _without_password(found: re.Match[str]) -> str:
    before = found.string[max(found.start() - 5, 0) : found.start()]
    if found["user"] and _WEB.search(before) and _PORT.match(found["password"]):
        return found[0]  # http://host:8000/mail@site: a port
    return f"{found['separator']}{found['user']}:***@"


def address_of(url: str) -> str:
    """Return the URL without its credentials and query: what a person needs to find the server.

    Several hosts with their ports stay as they are. What is no URL comes back redacted.
    """
    if hides_credentials(url):  # what stands behind them is the address
        scheme, _, rest = url.partition("://")
        url = f"{scheme}://{rest.rpartition('@')[2]}"
    try:
        parts = urlsplit(url)
    except ValueError:  # an IPv6 address with one bracket
        return redact(url)
    if "://" not in url:
        return redact(url)
    hosts = parts.netloc.rpartition("@")[2]
    return redact(f"{parts.scheme}://{hosts}{parts.path}")


def hides_credentials(url: str) -> bool:
    """Whether a URL has its user and password where its readers look for something else.

    A "/", "?" or "#" of a password that is not quoted ends the part that they are read from (RFC 3986, 3.2):
    a piece of the password is then the port, the path, the query or the fragment.
    """
    scheme, separator, rest = url.partition("://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    behind = rest[len(authority) :]
    if not separator or not authority or "@" not in behind:
        return False
    if scheme in {"http", "https"} and re.fullmatch(r"[^:@]+(?::\d+)?", authority):
        return False  # a page, whose path and query may hold anything
    path, _, query = behind.partition("?")
    return "@" in path or "@" in query.partition("=")[0]
