"""A few requests as a browser would send them, bounded in number, time and bytes."""

import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException, HTTPSConnection
from urllib.parse import urljoin, urlsplit

from maintenance.core.redaction import redact

#: What a browser says that it can read, in its order of preference.
ACCEPT_ENCODING = "br, gzip"
#: More of a page or a file is not read: headers are what counts, and links stand at the top.
MOST_BYTES = 1024**2
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_MOST_REDIRECTS = 3


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back. ``fault`` says why nothing did; ``status`` is 0 then.

    ``headers`` have lower-case names; ``size_bytes`` is what was sent for the body, as far as it was
    read. ``redirects`` counts the detours.
    """

    url: str
    status: int = 0
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = field(default=b"", repr=False)
    size_bytes: int = 0
    seconds: float = 0.0
    redirects: int = 0
    fault: str = ""

    @property
    def is_good(self) -> bool:
        """Whether the file came."""
        return 200 <= self.status < 300

    @property
    def content_type(self) -> str:
        """The media type alone, in lower case."""
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()


class Fetcher:
    """Fetches at most ``requests`` URLs, redirects included, each within ``timeout_seconds``."""

    def __init__(self, requests: int, timeout_seconds: float) -> None:
        self.left = requests
        self._timeout_seconds = timeout_seconds

    def get(self, url: str, *, origin: str = "") -> Answer:
        """Return the answer to a GET; never raises for what a server does.

        ``origin`` is sent as a browser does for a font of another host. Certificates are checked.
        """
        started = time.monotonic()
        redirects = 0
        try:
            while True:
                answer = self._once(url, origin, started)
                target = answer.headers.get("location", "")
                may_follow = redirects < _MOST_REDIRECTS and self.left > 0
                if answer.status not in _REDIRECTS or not target or not may_follow:
                    break
                redirects += 1
                url = urljoin(url, target)
        except (OSError, HTTPException, ValueError) as error:
            return Answer(
                url,
                seconds=time.monotonic() - started,
                redirects=redirects,
                fault=_in_words(error),
            )
        return Answer(
            url,
            answer.status,
            answer.headers,
            answer.body,
            answer.size_bytes,
            time.monotonic() - started,
            redirects,
        )

    def _once(self, url: str, origin: str, started: float) -> Answer:
        self.left -= 1
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{redact(url)} is no address of a web server")
        connection = (
            HTTPSConnection(
                parts.hostname,
                parts.port,
                timeout=self._timeout_seconds,
                context=ssl.create_default_context(),
            )
            if parts.scheme == "https"
            else HTTPConnection(parts.hostname, parts.port, timeout=self._timeout_seconds)
        )
        try:
            path = parts.path or "/"
            connection.request(
                "GET",
                f"{path}?{parts.query}" if parts.query else path,
                headers={
                    "Accept-Encoding": ACCEPT_ENCODING,
                    "User-Agent": "celery-maintenance (review of static files)",
                    **({"Origin": origin} if origin else {}),
                },
            )
            response = connection.getresponse()
            body = bytearray()
            # A server that sends a byte a second is cut off as a silent one is.
            while len(body) < MOST_BYTES and time.monotonic() - started < self._timeout_seconds:
                chunk = response.read1(65_536)
                if not chunk:
                    break
                body += chunk
            headers = {name.lower(): value for name, value in response.getheaders()}
            told = headers.get("content-length", "")
            size = int(told) if told.isdecimal() else len(body)
            return Answer(url, response.status, headers, bytes(body), size)
        finally:
            connection.close()


def _in_words(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "no answer in time"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted: {error.verify_message}"
    strerror = getattr(error, "strerror", None)
    return redact(str(strerror or error)).strip().rstrip(".") or type(error).__name__
