"""A few lines of Python with the service's own settings, in a process that has not read others."""

import os
import subprocess
import sys
from pathlib import Path


def run_in_service(program: str, state: Path) -> subprocess.CompletedProcess[str]:
    """Return what ``program`` wrote; ``state`` is the folder of a service that is not there yet."""
    environment = {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": "service.settings",
        "MAINTENANCE_STATE": str(state),
    }
    return subprocess.run(
        [sys.executable, "-c", program],
        env=environment,
        capture_output=True,
        text=True,
        check=True,
    )
