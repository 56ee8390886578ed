"""A running Flower, asked over HTTP by a stranger or by somebody with the login."""

import base64
import http.client
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from signal import SIGKILL

from flower.urls import handlers
from flower.views.auth import LoginHandler, LogoutHandler
from flower.views.error import NotFoundErrorHandler
from flower.views.monitor import Healthcheck
from tornado.routing import URLSpec
from tornado.web import RequestHandler, StaticFileHandler

from service.embedded.leash import leashed
from tests.up_process import ROOT, clean_environment

#: What is open on purpose: it tells nothing of the crew.
OPEN = {Healthcheck, StaticFileHandler, LoginHandler, LogoutHandler, NotFoundErrorHandler}
VERBS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE")

_PASSWORD = "0pen-sesame"
#: Of a Flower that :func:`flower` has started.
LOGIN = f"admin:{_PASSWORD}"


@contextmanager
def flower(folder: Path, port: int, **environment: str) -> Iterator[subprocess.Popen[str]]:
    """The command of the compose file, in ``folder``."""
    command = [sys.executable, "-m", "celery", "--quiet", "-A", "service.flower", "flower"]
    process = subprocess.Popen(
        leashed([*command, "--address=127.0.0.1", f"--port={port}"], signal=SIGKILL),
        cwd=folder,
        env=clean_environment(PYTHONPATH=str(ROOT), FLOWER_PASSWORD=_PASSWORD, **environment),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def answers(process: subprocess.Popen[str], port: int) -> bool:
    """Say whether a Flower that was started can be asked; fail with its words where it has ended."""
    assert process.poll() is None, process.communicate()[1]
    try:
        return ask(port, "/healthcheck")[0] == 200
    except ConnectionRefusedError:
        return False


def ask(
    port: int, path: str, login: str = "", verb: str = "GET", **headers: str
) -> tuple[int, dict[str, str], str]:
    """Return status, headers and body of an answer; ``login`` is ``name:password``."""
    if login:
        headers["Authorization"] = "Basic " + base64.b64encode(login.encode()).decode()
    with closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as client:
        client.request(verb, path, headers=headers)
        with client.getresponse() as answer:
            body = answer.read().decode(errors="replace")
            return answer.status, dict(answer.headers.items()), body


def pages() -> Iterator[tuple[type[RequestHandler], str]]:
    """Yield each handler of Flower's table with an address that leads to it."""
    for entry in handlers:
        is_spec = isinstance(entry, URLSpec)
        pattern = entry.regex.pattern if is_spec else entry[0]
        path = re.sub(r"\([^)]*\)", "x", pattern.removesuffix("$").replace("/?", ""))
        yield (entry.handler_class if is_spec else entry[1]), path.replace(".*", "/nowhere")


def what_a_stranger_is_shown(port: int) -> list[str]:
    """Return what Flower answers without the login, or with a wrong one, where it should refuse."""
    shown = []
    for handler, path in pages():
        if handler in OPEN:
            continue
        for login in ("", "admin:guessed"):
            codes = {verb: ask(port, path, login, verb)[0] for verb in VERBS}
            # 405 is a verb that the page does not know.
            if 401 not in codes.values() or not set(codes.values()) <= {401, 405}:
                shown.append(f"{path} as {login or 'nobody'}: {codes}")
    return shown


def what_flower_says(port: int, login: str, tasks: Iterable[str]) -> Iterator[tuple[str, str]]:
    """Yield address and answer of every page that shows something of the crew, and of the API.

    ``tasks`` are the ids of those to look at.
    """
    listed = json.loads(ask(port, "/api/workers?refresh=1", login)[2])
    paths = ["/", "/workers?refresh=1", "/workers?json=1", "/tasks", "/broker", "/metrics"]
    paths += ["/api/workers", "/api/tasks", "/api/task/types", "/api/queues/length"]
    paths += ["/tasks/datatable?draw=1&start=0&length=999&order[0][column]=0&columns[0][data]=name"]
    for worker in listed:
        paths += [f"/worker/{worker}", f"/api/workers?workername={worker}&refresh=1"]
    for task in tasks:
        paths += [f"/task/{task}", f"/api/task/info/{task}", f"/api/task/result/{task}"]
    for path in paths:
        status, headers, body = ask(port, path, login)
        assert status == 200, (path, status, body)
        yield path, f"{headers} {body}"
