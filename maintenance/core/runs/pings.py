"""Pings to whoever watches from outside that scheduled runs start and end: healthchecks.io's protocol.

They go out from a thread of their own, in their order, and never wait for one another longer than their
timeouts: a watcher that is down costs a run nothing. The URL is a secret and stands in no log line.
Source of the protocol: healthchecks.io documentation, "Pinging API".
"""

import atexit
import logging
import os
import queue
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

from celery.signals import worker_process_shutdown

from maintenance.conf import PingTarget, configuration
from maintenance.core.draining import drained
from maintenance.core.errors import ConfigurationError
from maintenance.core.redaction import redact
from maintenance.core.reports import RunFacts
from maintenance.core.scheduling.schedule_sync import NAME_PREFIX

logger = logging.getLogger("maintenance.pings")

#: A watcher that blinks gets a ping at the second or third attempt; more would hold up the others.
ATTEMPTS = 3
PAUSE_SECONDS = 1.0
#: Pings that wait in a process; with more, a watcher has been down for long, and the oldest say little.
MOST_WAITING = 1000
#: How long the end of a process waits for its last pings.
FLUSH_SECONDS = 5.0
#: The protocol stores up to 100 kB of a body; a verdict is a sentence.
MOST_CHARACTERS = 10_000

#: What a state is to the watcher, as the end of the URL. A run that was skipped or cancelled did no
#: work, which is neither success nor failure: it is noted, and the missing success shows.
_SIGNALS: Mapping[str, str] = {
    "running": "start",
    "succeeded": "",
    "failed": "fail",
    "skipped": "log",
    "cancelled": "log",
}


@dataclass(frozen=True, slots=True)
class Ping:
    """One message to one watcher. ``name`` is what the configuration calls it."""

    name: str
    target: PingTarget
    signal: str
    run_id: str
    body: str

    def url(self) -> str:
        """Return the whole URL, which is a secret. Raises ``ConfigurationError``."""
        parts = urlsplit(self.target.resolved_url())
        path = f"{parts.path.rstrip('/')}/{self.signal}" if self.signal else parts.path
        # The run's id lets the watcher tell runs apart that overlap.
        query = urlencode([*parse_qsl(parts.query, keep_blank_values=True), ("rid", self.run_id)])
        return urlunsplit((parts.scheme, parts.netloc, path, query, ""))

    def __str__(self) -> str:
        return f"{self.signal or 'success'} of run {self.run_id} to {self.name}"


class Sender:
    """Sends pings one after the other from a thread, which the first of them starts."""

    def __init__(self) -> None:
        self._waiting: queue.Queue[Ping] = queue.Queue(MOST_WAITING)
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()

    def send(self, ping: Ping) -> None:
        """Take a ping, or drop it where too many wait; return at once."""
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="pings", daemon=True)
                self._thread.start()
        try:
            self._waiting.put_nowait(ping)
        except queue.Full:
            logger.warning("Ping dropped, too many wait: %s", ping)

    def flush(self, timeout_seconds: float = FLUSH_SECONDS) -> bool:
        """Wait until all have been sent or given up; return whether they were in time."""
        return drained(self._waiting, timeout_seconds)

    def _work(self) -> None:
        while True:
            ping = self._waiting.get()
            try:
                _deliver(ping)
            except Exception as error:  # noqa: BLE001 - the thread must outlive any one ping
                logger.error("Ping failed: %s (%s)", ping, type(error).__name__)
            finally:
                self._waiting.task_done()


def _deliver(ping: Ping) -> None:
    """Send one ping, a few times if need be; say in the log what became of a failed one."""
    # Only here: most processes ping nobody, and these take a megabyte or two.
    from http.client import HTTPException  # noqa: PLC0415
    from urllib import error as errors  # noqa: PLC0415
    from urllib import request as http  # noqa: PLC0415

    reason = ""
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_SECONDS)
        try:
            request = http.Request(  # noqa: S310 - http and https only: PingTarget
                ping.url(),
                data=ping.body.encode(),
                headers={"User-Agent": "celery-maintenance", "Content-Type": "text/plain"},
            )
            with http.urlopen(request, timeout=ping.target.timeout_seconds):  # noqa: S310
                return
        except errors.HTTPError as error:
            error.close()
            reason = f"HTTP {error.code}"
            if 400 <= error.code < 500 and error.code != 429:
                break  # a check that does not exist: asking again changes nothing
        except ConfigurationError as error:
            reason = str(error)
            break
        except (OSError, HTTPException, ValueError) as error:
            # Never the error's own words: those of a malformed URL repeat it.
            inner = getattr(error, "reason", error)
            reason = inner.strerror if isinstance(inner, OSError) and inner.strerror else ""
            reason = reason or type(inner).__name__
    logger.warning("Ping failed: %s (%s)", ping, reason)


_sender = Sender()


def _begin_anew() -> None:
    """Give a forked child a sender of its own: it has its parent's memory but not its threads."""
    global _sender  # noqa: PLW0603 - one of a process
    _sender = Sender()


def run_started(run: RunFacts) -> None:
    """Tell that a scheduled run begins to work."""
    _tell(run, "")


def run_ended(run: RunFacts, summary: str, *, is_newest: bool = True) -> None:
    """Tell how a scheduled run ended. Runs by hand say nothing of a schedule's health.

    Nor do slots that a scheduler skips: after a week of outage they would hold up what matters. To the
    watcher the last success or failure counts: one that is not the newest of its schedule is a note.
    """
    if run.attempt or run.state != "skipped":
        _tell(run, summary, "" if is_newest else "log")


def flush(timeout_seconds: float = FLUSH_SECONDS) -> bool:
    """Wait for the pings of this process; return whether all were sent or given up in time."""
    return _sender.flush(timeout_seconds)


def _tell(run: RunFacts, summary: str, instead: str = "") -> None:
    signal = instead or _SIGNALS.get(run.state)
    if not run.schedule or signal is None:
        return
    schedule = run.schedule.removeprefix(NAME_PREFIX)
    for name, target in configuration().pings.items():
        if target.fits(schedule):
            body = redact(f"{schedule}: {summary or run.state}")[:MOST_CHARACTERS]
            _sender.send(Ping(name, target, signal, run.run_id, body))


def _flush_at_the_end(**_signal: object) -> None:
    flush()


os.register_at_fork(after_in_child=_begin_anew)
# A worker's child ends without Python's own ending; another process ends with it.
worker_process_shutdown.connect(_flush_at_the_end, dispatch_uid="maintenance.pings")
atexit.register(_flush_at_the_end)
