"""How long a command of others takes beside our work, and a pace that keeps it short.

A thread sends PING on a connection of its own: what it waits for is what every other client waits
for, because the server answers one command at a time.
"""

import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from statistics import median

import redis

from maintenance.core.job import Progress
from maintenance.core.latency import LatencyChange

#: PINGs before the work begins: their median is what the site feels without us.
BASELINE_PROBES = 15
#: Twenty a second are no load, and show a stall of a tenth of a second twice.
PROBE_SECONDS = 0.05
#: The latency now is the median of so many: one slow answer is no load.
RECENT_PROBES = 5
#: Work of ours that computes holds the interpreter for so long before the probe may look at its
#: answer. Python's own 5 ms would be told as the server's.
SWITCH_SECONDS = 0.0005
#: No pause is longer: whether it is still needed is asked again.
LONGEST_PAUSE_SECONDS = 0.5


class LatencyProbe:
    """Pings a server from a thread. Use :func:`probing`."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._during: list[float] = []
        self._recent: deque[float] = deque(maxlen=RECENT_PROBES)
        self._ended = threading.Event()
        self.before_ms = median(self._ask() for _ in range(BASELINE_PROBES))

    def _ask(self) -> float:
        begin = time.perf_counter()
        self._client.ping()
        return (time.perf_counter() - begin) * 1000

    def run(self) -> None:
        """Ping until the end; a server that goes away ends it, and the work says so itself."""
        while not self._ended.wait(PROBE_SECONDS):
            try:
                latency = self._ask()
            except redis.RedisError:
                return
            self._during.append(latency)
            self._recent.append(latency)

    def end(self) -> None:
        """Have :meth:`run` return."""
        self._ended.set()

    @property
    def added_ms(self) -> float:
        """How much longer a PING takes at the moment than before; 0 before enough were sent."""
        recent = list(self._recent)
        if len(recent) < RECENT_PROBES:
            return 0.0
        return max(0.0, median(recent) - self.before_ms)

    @property
    def change(self) -> LatencyChange | None:
        """Latencies before and beside the work; ``None`` where it was over before the first PING."""
        during = list(self._during)
        if not during:
            return None
        return LatencyChange(self.before_ms, median(during), max(during), len(during))


class PacedProgress:
    """Progress that stands still where the probe feels our work: called between two batches.

    The pause is as long as the work before it, which halves the load; while the latency stays, it
    comes again.
    """

    def __init__(self, progress: Progress, probe: LatencyProbe, limit_ms: float) -> None:
        self._progress = progress
        self._probe = probe
        self._limit_ms = limit_ms
        self._worked_since = time.monotonic()
        self.stood_still_seconds = 0.0

    def update(
        self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
    ) -> None:
        """Pass the progress on, then pause if others feel it; raises what the progress raises."""
        self._progress.update(done, total, phase=phase, unit=unit)
        if self._probe.added_ms > self._limit_ms:
            worked = time.monotonic() - self._worked_since
            pause = min(worked, LONGEST_PAUSE_SECONDS)
            time.sleep(pause)
            self.stood_still_seconds += pause
        self._worked_since = time.monotonic()

    def check(self) -> None:
        """Raise what the progress raises."""
        self._progress.check()


class _QuickSwitches:
    """The interpreter's switch interval while anybody probes: it is one for all threads."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._probes = 0
        self._before = 0.0

    def __enter__(self) -> None:
        with self._lock:
            if self._probes == 0:
                self._before = sys.getswitchinterval()
                sys.setswitchinterval(min(self._before, SWITCH_SECONDS))
            self._probes += 1

    def __exit__(self, *exception: object) -> None:
        with self._lock:
            self._probes -= 1
            if self._probes == 0:
                sys.setswitchinterval(self._before)


_quick_switches = _QuickSwitches()


@contextmanager
def probing(client: redis.Redis) -> Iterator[LatencyProbe]:
    """Probe the latency of a server in the body."""
    probe = LatencyProbe(client)
    thread = threading.Thread(target=probe.run, name="latency-probe", daemon=True)
    with _quick_switches:
        thread.start()
        try:
            yield probe
        finally:
            probe.end()
            thread.join(LONGEST_PAUSE_SECONDS)
