"""What the headers of a static file mean for a browser that comes again. Pure."""

import re
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import PurePosixPath
from urllib.parse import parse_qs, urlsplit

from maintenance.web.static.fetch import Answer
from maintenance.web.static.folder import COMPRESSIBLE, SMALL_BYTES

#: A content hash in a name: app.3f2a9c1b.css, output.0123456789ab.js, app-3f2a9c1b.js.
_HASH = re.compile(r"[.-](?=[0-9a-f]*[0-9])[0-9a-f]{8,64}\.")
_FONTS = frozenset({".woff", ".woff2", ".ttf", ".otf", ".eot"})


@dataclass(frozen=True, slots=True)
class StaticAnswer:
    """An answer to the request of a static file, read. ``max_age_seconds`` is ``None`` where the
    server leaves it to the browser how long a copy is good."""

    answer: Answer
    max_age_seconds: int | None
    directives: frozenset[str]
    names_content: bool

    @property
    def url(self) -> str:
        """The address that the page names."""
        return self.answer.url

    @property
    def suffix(self) -> str:
        """The ending of the file's name, in lower case."""
        return PurePosixPath(urlsplit(self.url).path).suffix.lower()

    @property
    def is_font(self) -> bool:
        """Whether browsers ask for its permission to use it on another host's page."""
        return self.suffix in _FONTS

    @property
    def encoding(self) -> str:
        """How it was compressed on its way; empty where it was not."""
        return self.answer.headers.get("content-encoding", "").strip().lower()

    @property
    def should_be_encoded(self) -> bool:
        """Whether compression would make a difference."""
        return self.suffix in COMPRESSIBLE and self.answer.size_bytes >= SMALL_BYTES

    @property
    def varies(self) -> bool:
        """Whether caches on the way are told to keep one copy for each encoding."""
        vary = self.answer.headers.get("vary", "").lower()
        return "accept-encoding" in vary or vary.strip() == "*"

    @property
    def is_kept(self) -> bool:
        """Whether a browser may use its copy without asking."""
        forbidding = {"no-store", "no-cache"} & self.directives
        return not forbidding and bool(self.max_age_seconds)


def read_answer(answer: Answer, hashed_names: frozenset[str] = frozenset()) -> StaticAnswer:
    """Read the headers of an answer. ``hashed_names`` are file names known to hold a hash."""
    control = answer.headers.get("cache-control", "").lower()
    directives = [part.strip() for part in control.split(",") if part.strip()]
    parts = urlsplit(answer.url)
    name = PurePosixPath(parts.path).name
    return StaticAnswer(
        answer,
        _max_age(directives, answer),
        frozenset(directives),
        bool(_HASH.search(name)) or name in hashed_names or bool(parse_qs(parts.query)),
    )


def _max_age(directives: list[str], answer: Answer) -> int | None:
    """Return the seconds of max-age, else of Expires after Date (RFC 9111, 4.2.1)."""
    for directive in directives:
        kind, _, value = directive.partition("=")
        if kind.strip() == "max-age" and value.strip('" ').isdecimal():
            return int(value.strip('" '))
    expires, date = answer.headers.get("expires"), answer.headers.get("date")
    if not expires or not date:
        return None
    try:
        seconds = (parsedate_to_datetime(expires) - parsedate_to_datetime(date)).total_seconds()
    except (ValueError, TypeError):  # "0" and its like mean that it is stale at once
        return 0
    return max(0, int(seconds))
