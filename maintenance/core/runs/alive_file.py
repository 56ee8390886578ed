"""A file that a living beat or worker touches every few seconds, for whoever looks from beside it.

MAINTENANCE_ALIVE_FILE names it; without, there is none. A look at its age takes a millisecond and nothing
else: ``celery inspect ping`` starts an application for each question, asks over the broker, and calls
workers dead that wait for a broker to come back. A beat writes at each tick, also while another leads; a
worker with each of its heartbeats, every 2 s, from the loop that takes messages: one that hangs, or has no
broker, grows old.
"""

import logging
import os
from pathlib import Path
from typing import Any

from celery.signals import heartbeat_sent

VARIABLE = "MAINTENANCE_ALIVE_FILE"

logger = logging.getLogger("maintenance.alive")


def touch_alive_file(**_details: Any) -> None:
    """Touch the file, where one is named. A disk that takes nothing ends no beat and no worker."""
    path = os.environ.get(VARIABLE)
    if not path:
        return
    try:
        Path(path).touch()
    except OSError as error:
        logger.warning("%s=%s cannot be written: %s", VARIABLE, path, error.strerror)


def watch_worker() -> None:
    """Have workers of this process touch it."""
    if os.environ.get(VARIABLE):
        heartbeat_sent.connect(touch_alive_file, dispatch_uid="maintenance.alive", weak=False)
