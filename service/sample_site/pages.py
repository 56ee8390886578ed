"""The site's web pages: a few that are quick, one that waits for somebody else, and their styles.

``python -m service.sample_site.pages PORT`` serves them on the loopback interface, for load tests and
for the review of static files.
"""

import sys
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

from service.sample_site.truth import Decoy, Fault, FaultKind

#: Asks another service for each visitor, and waits.
SLOW_PAGE: Final = "/shelf/1/overview"
SLOW_SECONDS: Final = 0.6
#: Leads to another host, where no load may follow it.
MOVED_PAGE: Final = "/partner"
MOVED_TO: Final = "https://library.example.org/"
QUICK_PAGES: Final = ("/", "/search", "/book/1")

#: Every page names it; it goes out as it is, and nobody may keep it.
STYLES_PATH: Final = "/static/site.css"
STYLES: Final = b"".join(
    b".shelf-%d { margin: 0 auto; padding: 1rem; color: #333333; }\n" % number
    for number in range(400)
)


class Pages(BaseHTTPRequestHandler):
    """Answers GET."""

    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        """Send a page, a detour, or that there is none."""
        path = self.path.partition("?")[0]
        if path == MOVED_PAGE:
            self._answer(302, b"", Location=MOVED_TO)
            return
        if path == SLOW_PAGE:
            time.sleep(SLOW_SECONDS)
        if path == STYLES_PATH:
            self._answer(200, STYLES, **{"Content-Type": "text/css", "Cache-Control": "no-store"})
            return
        known = path in QUICK_PAGES or path == SLOW_PAGE
        self._answer(200 if known else 404, _page(path))

    def _answer(self, status: int, body: bytes, **headers: str) -> None:
        self.send_response(status)
        for name, value in {"Content-Type": "text/html; charset=utf-8", **headers}.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing: the terminal belongs to the crew."""


def _page(path: str) -> bytes:
    head = f'<!doctype html><link rel="stylesheet" href="{STYLES_PATH}"><title>Library</title>'
    return f"{head}<h1>Library</h1><p>{len(path)}</p>".encode()


class PageServer(ThreadingHTTPServer):
    """One thread a visitor; a visitor who goes away in the middle is no error."""

    daemon_threads = True

    def handle_error(self, request: object, client_address: object) -> None:
        """Leave it: a load test that ends cuts its connections."""


def faults() -> tuple[Fault, ...]:
    """Return what the pages show, alone and under load."""
    return (
        Fault(
            FaultKind.SLOW_UNDER_LOAD,
            SLOW_PAGE,
            "It asks another service for each visitor, and waits.",
            expected={"p50_at_least_ms": SLOW_SECONDS * 1000},
        ),
        Fault(
            FaultKind.CARELESS_STATIC_FILES,
            "static-uncompressed",
            "The style sheet goes out as it is.",
            expected={"bytes": len(STYLES)},
        ),
        Fault(
            FaultKind.CARELESS_STATIC_FILES,
            "static-not-cached",
            "Every visitor fetches the style sheet with every page.",
        ),
    )


def decoys() -> tuple[Decoy, ...]:
    """Return what only looks like a fault."""
    return tuple(Decoy(FaultKind.SLOW_UNDER_LOAD, path, "It is quick.") for path in QUICK_PAGES[1:])


if __name__ == "__main__":
    with PageServer(("127.0.0.1", int(sys.argv[1])), Pages) as server:
        server.serve_forever()
