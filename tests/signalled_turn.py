"""For a worker's ``--include``: told to end in the middle of its loop's turn, as it looks whether it can take more."""

import os
import signal
from typing import Any

from celery.signals import worker_ready


@worker_ready.connect
def end_in_the_next_turn(sender: Any, **_: Any) -> None:
    """Send the worker the signal of its service's stop just before it counts the processes of its pool."""
    qos = sender.task_consumer.channel.qos
    can_consume = qos.can_consume

    def told_to_end() -> bool:
        os.kill(os.getpid(), signal.SIGQUIT)
        return bool(can_consume())

    qos.can_consume = told_to_end
