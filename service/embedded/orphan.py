"""A server that outlived whoever started it, found again through its pid file.

On Linux the leash makes orphans rare (the kernel stops them); elsewhere each `kill -9` of the
supervisor leaves one. The caller holds the folder's lock, so a live server on that folder has no
supervisor any more.
"""

import os
import signal as signals
import subprocess
import time
from pathlib import Path

from service.embedded.errors import ServerStartError

POLL_INTERVAL_SECONDS = 0.05
LISTING_TIMEOUT_SECONDS = 10
PROCESS_FOLDER = Path("/proc") if Path("/proc/self/cwd").exists() else None


def read_pid(pid_file: Path) -> int | None:
    """The pid in the first line of a pid file, or None where there is none."""
    try:
        return int(pid_file.read_text().split("\n", maxsplit=1)[0])
    except (OSError, ValueError):
        return None


def is_alive(pid: int) -> bool:
    """Whether a process of that id exists, under any user."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def serves_folder(pid: int, data_directory: Path) -> bool:
    """Whether process `pid` is a server at work in `data_directory`, not a later user of its pid.

    Both servers make their data directory their working directory.

    Raises ServerStartError where this machine has no way to tell.
    """
    data_directory = data_directory.resolve()
    if PROCESS_FOLDER is not None:
        try:
            return (PROCESS_FOLDER / str(pid) / "cwd").resolve(strict=True) == data_directory
        except OSError:
            return False  # gone, a zombie, or another user's: not one of ours at work
    try:
        listing = subprocess.run(
            ["lsof", "-a", "-p", str(pid), "-d", "cwd", "-Fn"],
            capture_output=True,
            text=True,
            timeout=LISTING_TIMEOUT_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise ServerStartError(
            f"Process {pid} may be a server of an earlier run in {data_directory}; without lsof "
            "that cannot be told. Stop it, or remove the pid file in that folder."
        ) from None
    return f"n{data_directory}" in listing.stdout.splitlines()


def stop_orphan(
    name: str, pid_file: Path, data_directory: Path, stop_signal: signals.Signals, seconds: float
) -> None:
    """Stop the server that the pid file names where it still works in `data_directory`.

    A pid file whose process is another program by now is removed: PostgreSQL would take that
    program for a rival and refuse to start.

    Raises ServerStartError where the server belongs to somebody else or does not end in time.
    """
    pid = read_pid(pid_file)
    if pid is None or not is_alive(pid):
        return
    if not serves_folder(pid, data_directory):
        pid_file.unlink(missing_ok=True)
        return
    try:
        os.kill(pid, stop_signal)
    except PermissionError:
        raise ServerStartError(
            f"{name} (pid {pid}) of an earlier run still works in {data_directory} under another "
            "user: stop that process first."
        ) from None
    deadline = time.monotonic() + seconds
    while serves_folder(pid, data_directory):  # a zombie that nobody collects has no folder
        if time.monotonic() > deadline:
            raise ServerStartError(
                f"{name} (pid {pid}) of an earlier run still works in {data_directory} and did not "
                f"end within {seconds:.0f} s: stop that process first."
            )
        time.sleep(POLL_INTERVAL_SECONDS)
