"""Waiting for a condition with a deadline, in place of sleeping and hoping."""

import os
import time
from collections.abc import Callable
from pathlib import Path

POLL_INTERVAL_SECONDS = 0.02


def eventually(condition: Callable[[], bool], seconds: float, what: str) -> None:
    """Return as soon as `condition` holds; fail the test, saying `what` was awaited, otherwise."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"Not within {seconds:g} s: {what}")
        time.sleep(POLL_INTERVAL_SECONDS)


def is_gone(pid: int) -> bool:
    """Whether the process has ended, be it that nobody has collected its exit code yet."""
    status = Path(f"/proc/{pid}/stat")
    if not Path("/proc/self/stat").exists():
        try:
            os.kill(pid, 0)
        except ProcessLookupError:
            return True
        return False
    try:
        return status.read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
