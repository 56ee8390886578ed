"""The generator's process, seen from the run: started, listened to, and ended in any case."""

import json
import os
import selectors
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import IO, Any

from maintenance.core.errors import TargetUnavailable
from maintenance.core.redaction import redact
from maintenance.web.latency_histogram import empty_counts
from maintenance.web.load_test.plan import Plan

COMMAND = (sys.executable, "-m", "maintenance.web.load_test.generator")
#: Between two looks at whether the run is to stop.
LOOK_SECONDS = 0.25
#: How long Python and Locust take to start on a busy machine, and a result to be written.
START_SECONDS = 30.0
END_SECONDS = 2.0
#: A proxy would be a host that nobody allowed.
_PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")


@dataclass(frozen=True, slots=True)
class Counted:
    """What was counted of a page or a stretch; ``latencies`` is a histogram."""

    latencies: tuple[int, ...]
    requests: int
    failed: int

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Counted":
        """Rebuild it from what the generator wrote."""
        counts = empty_counts()
        for bucket, n in body["latencies"].items():
            counts[int(bucket)] = n
        return cls(tuple(counts), body["requests"], body["failed"])


@dataclass(frozen=True, slots=True)
class Result:
    """What a load test measured.

    ``kind`` says why it ended: ``time``, ``requests``, ``aborted`` or ``cancelled``, ``reason`` the
    rest. ``stopped_after_seconds`` is the time from that decision until no user was at work.
    ``processor_ratio`` is the share of the time in which the generator used a processor or waited for one.
    """

    kind: str
    reason: str
    lasted_seconds: float
    stopped_after_seconds: float
    processor_ratio: float
    kinds: Mapping[str, int]
    pages: Mapping[str, Counted]
    course: tuple[Counted, ...]
    stretch_seconds: float
    locust: str

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> "Result":
        """Rebuild it from what the generator wrote."""
        pages = {path: Counted.from_json(page) for path, page in body["pages"].items()}
        course = tuple(Counted.from_json(stretch) for stretch in body["course"])
        return cls(**{**body, "pages": pages, "course": course})


def generate(plan: Plan, progress: Callable[[float, int], None]) -> Result:
    """Make the load that a plan says, in a process of its own, and return what it measured.

    ``progress`` is told the seconds and the requests so far, several times a second; what it raises
    ends the load within a second. Raises :class:`TargetUnavailable` where the generator breaks.
    """
    with tempfile.TemporaryFile() as errors:
        process = subprocess.Popen(
            COMMAND,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            env=_environment(),
            start_new_session=True,
        )
        assert process.stdin is not None
        assert process.stdout is not None
        seconds, requests = 0.0, 0
        try:
            with suppress(BrokenPipeError):  # it has ended, and says why below
                process.stdin.write(json.dumps(plan.to_json()).encode() + b"\n")
                process.stdin.flush()
            limit = START_SECONDS + plan.duration_seconds + plan.timeout_seconds
            for line in _lines(process.stdout, time.monotonic() + limit):
                if "result" in line:
                    return Result.from_json(line["result"])
                seconds, requests = line.get("seconds", seconds), line.get("requests", requests)
                progress(seconds, requests)
        finally:
            _end(process)
        raise TargetUnavailable(f"The load generator ended without a result: {_last(errors)}")


def _environment() -> dict[str, str]:
    """Return our environment without proxies, and with our way to find modules."""
    kept = {k: v for k, v in os.environ.items() if k.lower() not in _PROXIES}
    return {**kept, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}


def _lines(stream: IO[bytes], until: float) -> Iterator[dict[str, Any]]:
    """Yield each line as it comes, and an empty one where none does; end at the end, or at ``until``."""
    waiting = b""
    with selectors.DefaultSelector() as selector:
        selector.register(stream, selectors.EVENT_READ)
        while time.monotonic() < until:
            if not selector.select(LOOK_SECONDS):
                yield {}
                continue
            chunk = os.read(stream.fileno(), 65_536)
            if not chunk:
                return
            *whole, waiting = (waiting + chunk).split(b"\n")
            for line in whole:
                yield json.loads(line)


def _end(process: "subprocess.Popen[bytes]") -> None:
    """Close its standard input, on which it ends by itself, and kill it where it does not."""
    assert process.stdin is not None
    assert process.stdout is not None
    with suppress(BrokenPipeError):  # it has ended already, which is what we want
        process.stdin.close()
    process.stdout.close()
    try:
        process.wait(END_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def _last(errors: IO[bytes]) -> str:
    errors.seek(max(0, errors.seek(0, os.SEEK_END) - 4096))
    lines = errors.read().decode(errors="replace").strip().splitlines()
    return redact(lines[-1])[:500] if lines else "it said nothing"
