"""A real Nginx writes the log, and rotates it, while it is read."""

import gzip
import json
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path

import pytest

from maintenance.conf import LogTarget, Thresholds
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.web.access_log import review_error_rates
from service.embedded.ports import LOOPBACK, free_port
from service.up.listening import is_listening
from tests.polling import eventually

#: Debian's lies in /usr/sbin, which is not in everybody's path.
NGINX = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")

TEXT = """log_format timed '$remote_addr - $remote_user [$time_local] "$request" '
        '$status $body_bytes_sent "$http_referer" "$http_user_agent" $request_time';"""
JSON = """log_format timed escape=json '{"time":"$time_iso8601","request":"$request",'
        '"status":$status,"size":$body_bytes_sent,"agent":"$http_user_agent",'
        '"seconds":"$request_time"}';"""

CONFIGURATION = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/error.log;
events {{ worker_connections 64; }}
http {{
    {log_format}
    access_log {folder}/access.log timed;
    client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
    uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
    server {{
        listen {address};
        location / {{ return 200 "well"; }}
        location /broken {{ return 503; }}
        location /missing {{ return 404; }}
    }}
}}
"""


class Nginx:
    """A server of its own, and the requests that it was sent."""

    def __init__(self, folder: Path, log_format: str) -> None:
        self.folder = folder
        self.log = folder / "access.log"
        self.log_format = log_format
        self.port = free_port()
        path = folder / "nginx.conf"
        address = f"{LOOPBACK}:{self.port}"
        path.write_text(CONFIGURATION.format(folder=folder, log_format=log_format, address=address))
        assert NGINX is not None
        self._process = subprocess.Popen(
            [NGINX, "-c", path, "-p", folder], stderr=subprocess.DEVNULL
        )
        try:
            eventually(lambda: is_listening(self.port), 20, "nginx listens")
        except BaseException:
            self.stop()
            raise

    def get(self, *paths: str, agent: str = "test") -> None:
        connection = HTTPConnection(LOOPBACK, self.port)
        for path in paths:
            connection.putrequest("GET", path, skip_accept_encoding=True)
            connection.putheader("User-Agent", agent.encode())
            connection.endheaders()
            connection.getresponse().read()
        connection.close()

    def written(self, lines: int) -> None:
        """Wait until the log has so many lines: they follow their answer."""
        eventually(
            lambda: self.log.read_bytes().count(b"\n") == lines, 20, f"{lines} lines in the log"
        )

    def reopen(self) -> None:
        self._process.send_signal(signal.SIGUSR1)
        eventually(self.log.exists, 20, "the log is opened anew")

    def stop(self) -> None:
        self._process.terminate()
        self._process.wait(10)


@pytest.fixture(params=[TEXT, JSON], ids=["text", "json"])
def nginx(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Nginx]:
    if NGINX is None:
        pytest.skip("nginx is not installed")
    server = Nginx(tmp_path, request.param)
    yield server
    server.stop()


def review(nginx: Nginx, previous: Report | None = None) -> Report:
    state = json.loads(json.dumps(dict(previous.state))) if previous else {}
    target = LogTarget(path=str(nginx.log), format=nginx.log_format)
    job = Job("site", target, NoOptions(), previous_state=state)
    return review_error_rates(job, Thresholds(access_log_minimum_requests=10), "UTC")


def test_each_request_is_counted_once_through_rotation(nginx):
    nginx.get(*[f"/book/{n}?token=secret" for n in range(40)], *["/broken"] * 20, "/missing")
    nginx.written(61)
    report = review(nginx)
    assert report.facts["requests"] == 61
    routes = {row[0]: row[1] for row in report.tables[0].rows}
    assert routes == {"/book/{id}": 40, "/broken": 20, "(not found)": 1}
    assert {(f.code, f.subject) for f in report.findings} == {
        ("server-error-ratio", "site"),
        ("server-error-burst", "/broken"),
    }
    assert "secret" not in str(report.to_json())

    nginx.get("/a", "/b")
    nginx.written(63)
    nginx.log.rename(nginx.folder / "access.log.1")
    nginx.get("/c")  # still into the renamed file
    nginx.reopen()
    nginx.get("/d", "/e")
    nginx.written(2)
    second = review(nginx, report)
    assert second.facts["requests"] == 5
    assert second.facts["previous_requests"] == 61

    rotated = nginx.folder / "access.log.1"
    rotated.with_suffix(".2.gz").write_bytes(gzip.compress(rotated.read_bytes()))
    rotated.unlink()
    shutil.copyfile(nginx.log, rotated)  # copytruncate
    os.truncate(nginx.log, 0)
    nginx.get("/f")
    nginx.written(1)
    third = review(nginx, second)
    assert third.facts["requests"] == 1


def test_what_visitors_send_is_no_malformed_line(nginx):
    for agent in ('say "hello"\\', "\u00e9\U0001f600", "tab\there", ""):
        nginx.get("/agent", agent=agent)
    nginx.get('/quote"and\\back', "/%00%22")
    for raw in (
        b"GET /\xc3\xa9\xff HTTP/1.0\r\n\r\n",
        b"\x16\x03\x01\x00\r\n\r\n",
        b"GET\r\n\r\n",
        b"GET /a b HTTP/1.1\r\n\r\n",
    ):
        with socket.create_connection((LOOPBACK, nginx.port)) as connection:
            connection.sendall(raw)
            while connection.recv(4096):
                pass
    nginx.written(10)
    report = review(nginx)
    assert (report.facts["requests"], report.facts["malformed_lines"]) == (10, 0)
