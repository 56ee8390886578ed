"""Where profiles are written: the guide's loggers, a bounded number of lines, never an error.

The LOGGING sample of the guide attaches its file to these names. A line is the whole message, so
that a handler without a format of its own writes plain JSON lines.
"""

import contextlib
import logging
import random
import threading
from collections.abc import Mapping
from time import monotonic
from typing import Any

from django.conf import settings

from maintenance.web.profile import QueryProfile
from maintenance.web.profile_line import is_worth_a_line, line_of
from maintenance.web.profiling_settings import ProfilingSettings

#: Lines of one process a minute: half a megabyte at the most. What is left out is counted.
LINES_PER_MINUTE = 60


class _Allowance:
    """How many lines may still be written in this minute, over all threads of the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._began_at = float("-inf")
        self._written = 0
        self._left_out = 0

    def take(self) -> int | None:
        """Return how many lines were left out since the last one; ``None`` for one more of them."""
        with self._lock:
            now = monotonic()
            if now - self._began_at >= 60:
                self._began_at, self._written = now, 0
            if self._written >= LINES_PER_MINUTE:
                self._left_out += 1
                return None
            self._written += 1
            left_out, self._left_out = self._left_out, 0
            return left_out


_allowance = _Allowance()
_own_logger = logging.getLogger("maintenance.web")


def is_sampled(rules: ProfilingSettings) -> bool:
    """Draw whether one more request or task is profiled."""
    return rules.sample_ratio >= 1 or random.random() < rules.sample_ratio  # noqa: S311 - no secret


def logger_named(default: str) -> logging.Logger:
    """Return the logger of a name of the guide's, or of ``settings.QUERY_PROFILE_LOGGER``."""
    return logging.getLogger(getattr(settings, "QUERY_PROFILE_LOGGER", "") or default)


def write(
    profile: QueryProfile,
    rules: ProfilingSettings,
    logger: logging.Logger,
    facts: Mapping[str, Any],
) -> None:
    """Write a profile where it reaches a threshold. Never raises, whatever a handler does."""
    try:
        if not logger.isEnabledFor(logging.INFO) or not is_worth_a_line(profile, rules):
            return
        left_out = _allowance.take()
        if left_out is not None:
            logger.info("%s", line_of(profile, rules, facts, left_out))
    except Exception:
        # Where the log itself is broken, there is nobody to tell.
        with contextlib.suppress(Exception):
            _own_logger.warning("A query profile could not be written.", exc_info=True)
