"""Commands as a shell runs them: exit code, standard output, standard error."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

from django.db import connection

ROOT = Path(__file__).resolve().parents[1]

#: Planted in every configuration of these tests; no command may ever print it.
PASSWORD = "hunter2-9f3c"
#: A server that nobody runs: the port is reserved (RFC 6335, tcpmux).
DOWN = f"postgres://crew:{PASSWORD}@127.0.0.1:1/gone"
DOWN_REDIS = f"redis://crew:{PASSWORD}@127.0.0.1:1/0"


@dataclass(frozen=True, slots=True)
class Finished:
    """What a command left."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """Standard output as the one JSON document that it is."""
        return json.loads(self.out)


class Shell:
    """Runs ``manage.py`` of the service with an environment of its own.

    No expected failure may end in a traceback, and no command may show a password: that is
    asserted for every single one.
    """

    def __init__(self, environment: Mapping[str, str]) -> None:
        self._environment = {**os.environ, **environment}

    def __call__(self, *words: str, **more: str) -> Finished:
        """Run a command; ``more`` are environment variables for this one."""
        done = subprocess.run(
            [sys.executable, "manage.py", *words],
            cwd=ROOT,
            env={**self._environment, **more},
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
        assert "Traceback" not in done.stderr, done.stderr
        assert PASSWORD not in done.stdout + done.stderr
        return Finished(done.returncode, done.stdout, done.stderr)


def ledger_url() -> str:
    """Return the URL of the tests' own ledger database, for another process."""
    settings = connection.settings_dict
    user, password = quote(settings["USER"], safe=""), quote(settings["PASSWORD"], safe="")
    return f"postgres://{user}:{password}@{settings['HOST']}:{settings['PORT']}/{settings['NAME']}"


def toml(sections: Mapping[str, Mapping[str, Any]]) -> str:
    """Write a configuration: ``{"databases.site": {"url": "..."}}``."""
    lines = []
    for name, values in sections.items():
        lines.append(f"[{name}]")
        lines += [f"{key} = {json.dumps(value)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"
