"""Waiting for what comes by itself."""

import time
from collections.abc import Callable
from typing import Any

POLL_SECONDS = 0.01


def eventually(condition: Callable[[], Any], seconds: float, what: str) -> Any:
    """Return what ``condition`` returns once it is true. Raises ``TimeoutError``."""
    give_up_at = time.monotonic() + seconds
    while not (found := condition()):
        if time.monotonic() > give_up_at:
            raise TimeoutError(f"Not within {seconds:g} s: {what}")
        time.sleep(POLL_SECONDS)
    return found
