"""A ledger of a bench's own, and a process with the service's settings that measures on it."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.server import postgres_server


def figures_of(
    module: str,
    *numbers: int,
    configuration: str,
    settings: Mapping[str, str] | None = None,
    environment: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """Run ``python -m module numbers...``; return the JSON object on its last line.

    ``configuration`` is the text of its ``maintenance.toml``, ``settings`` are the server's. Raises
    ``CalledProcessError`` where it fails.
    """
    with (
        postgres_server(**(settings or {})) as server,
        tempfile.TemporaryDirectory(prefix="bench-ledger-") as state,
    ):
        server.ensure_database("ledger")
        path = Path(state) / "maintenance.toml"
        path.write_text(configuration)
        done = subprocess.run(
            [sys.executable, "-m", module, *map(str, numbers)],
            env={
                **os.environ,
                "DJANGO_SETTINGS_MODULE": "service.settings",
                "DATABASE_URL": server.url("ledger"),
                "MAINTENANCE_STATE": state,
                "MAINTENANCE_CONFIG": str(path),
                **(environment or {}),
            },
            stdout=subprocess.PIPE,
            check=True,
        )
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures
