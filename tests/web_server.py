"""A real HTTP server on loopback that answers as a test tells it."""

import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from service.embedded.ports import LOOPBACK

#: Path, and request headers by lower-case name, to status, headers and body.
Answering = Callable[[str, Mapping[str, str]], tuple[int, Mapping[str, str], bytes]]


@dataclass(slots=True)
class WebServer:
    """A running server; ``asked`` holds the paths in their order."""

    url: str
    asked: list[str] = field(default_factory=list)


@contextmanager
def web_server(answering: Answering) -> Iterator[WebServer]:
    """Yield a server on a free port, which ends with the block."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            running.asked.append(self.path)
            headers = {name.lower(): value for name, value in self.headers.items()}
            status, given, body = answering(self.path, headers)
            self.send_response(status)
            for name, value in given.items():
                self.send_header(name, value)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_args: object) -> None:
            """Say nothing: the test does."""

    server = ThreadingHTTPServer((LOOPBACK, 0), Handler)
    running = WebServer(f"http://{LOOPBACK}:{server.server_port}")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield running
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
