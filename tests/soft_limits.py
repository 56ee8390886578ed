"""Fixture: Celery's soft time limit, as a pool's process gets it from its worker."""

import os
import signal
from collections.abc import Callable, Iterator

import pytest
from billiard.pool import soft_timeout_sighandler

Strike = Callable[[], None]


@pytest.fixture
def strike() -> Iterator[Strike]:
    """Handle the limit's signal as a worker's process does; give what sends it."""
    before = signal.signal(signal.SIGUSR1, soft_timeout_sighandler)
    try:
        yield lambda: os.kill(os.getpid(), signal.SIGUSR1)
        assert signal.getsignal(signal.SIGUSR1) is soft_timeout_sighandler
    finally:
        signal.signal(signal.SIGUSR1, before)
