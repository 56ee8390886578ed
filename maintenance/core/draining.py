"""The end of what a thread of its own does: wait for it, but not for ever. Pure."""

import queue
import time
from typing import Any


def drained(waiting: queue.Queue[Any], timeout_seconds: float) -> bool:
    """Wait until all that was put there is done; return whether it was in time.

    ``Queue.join`` would wait as long as it takes.
    """
    give_up_at = time.monotonic() + timeout_seconds
    with waiting.all_tasks_done:
        while waiting.unfinished_tasks:
            left = give_up_at - time.monotonic()
            if left <= 0:
                return False
            waiting.all_tasks_done.wait(left)
    return True
