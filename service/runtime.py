"""Where the running service's servers are: written by ``up``, read by every other command.

``up`` picks free ports and generates passwords. It leaves them in ``runtime.json`` in the state
folder, readable by its owner only, so that ``manage.py maintenance ...`` in a second terminal
finds the same servers. The environment wins over the file.
"""

import json
import os
from pathlib import Path

FILE_NAME = "runtime.json"

#: What this process took from the file, by name.
_adopted: dict[str, str] = {}


def project_root() -> Path:
    """Return the folder that holds ``manage.py``."""
    return Path(__file__).resolve().parent.parent


def write_runtime(folder: Path, values: dict[str, str]) -> None:
    """Write the file with mode 0600, whole or not at all."""
    path = folder / FILE_NAME
    temporary = path.with_suffix(".new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "w") as file:
        json.dump(values, file, indent=1)
    temporary.replace(path)


def remove_runtime(folder: Path) -> None:
    """Remove the file: its servers have stopped."""
    (folder / FILE_NAME).unlink(missing_ok=True)


def read_runtime(folder: Path) -> dict[str, str]:
    """Return what a running ``up`` left, empty where none runs or the file is not ours to read."""
    try:
        values: dict[str, str] = json.loads((folder / FILE_NAME).read_text())
    except (OSError, ValueError):
        return {}
    return values


def adopt_runtime(folder: Path) -> None:
    """Put what a running ``up`` left into the environment, where the environment has nothing."""
    for name, value in read_runtime(folder).items():
        if name not in os.environ:
            os.environ[name] = _adopted[name] = value


def forget_adopted() -> None:
    """Take it out of the environment again.

    For ``up``, which starts servers of its own: the file may have been left by one that was
    killed, or belong to another state folder.
    """
    for name in _adopted:
        os.environ.pop(name, None)
    _adopted.clear()
