"""The process that makes the load: ``python -m maintenance.web.load_test.generator``.

The plan comes as one line of JSON on standard input, which stays open: where it ends, whoever asked
for the load is gone, and the load ends too. Progress and the result go to standard output, a line of
JSON each. It knows neither Django nor the ledger.
"""

import json
import os
import random
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

# Before anything else: it makes sockets cooperative, which has to come before their first use.
import gevent
import locust
from gevent.event import Event
from gevent.socket import wait_read
from locust.contrib.fasthttp import FastHttpUser
from locust.env import Environment

from maintenance.web.latency_histogram import bucket_of, empty_counts
from maintenance.web.load_test.abort import Watch
from maintenance.web.load_test.fence import require_allowed
from maintenance.web.load_test.plan import Plan

TICK_SECONDS = 0.1
PROGRESS_SECONDS = 0.5
#: Stretches of time that the course of the test is reported in.
STRETCHES = 20
#: Kinds of failure that are told apart; what a server makes up is bounded.
MOST_KINDS = 20
AGENT = "celery-maintenance (load test)"

_SCHEDULED = Path("/proc/self/schedstat")


@dataclass(slots=True)
class Tally:
    """What was counted of one page, or of one stretch of time."""

    latencies: list[int] = field(default_factory=empty_counts)
    requests: int = 0
    failed: int = 0

    def add(self, seconds: float, *, failed: bool) -> None:
        """Count one request."""
        self.latencies[bucket_of(seconds)] += 1
        self.requests += 1
        self.failed += failed

    def to_json(self) -> dict[str, Any]:
        """Return plain JSON values; of the latencies only what was counted."""
        counted = {str(bucket): n for bucket, n in enumerate(self.latencies) if n}
        return {"latencies": counted, "requests": self.requests, "failed": self.failed}


class Load:
    """One load test from its start to its end."""

    def __init__(self, plan: Plan) -> None:
        require_allowed(plan.base_url, plan.allowed_hosts)
        self.plan = plan
        self.started, self.worked_before = time.monotonic(), processor_seconds()
        self.in_flight: dict[int, float] = {}
        self.pages = {page.path: Tally() for page in plan.pages}
        self.course = [Tally() for _ in range(STRETCHES)]
        self.kinds: dict[str, int] = {}
        self.requests = self.begun = 0
        self.reason = ""
        self.kind = ""
        self.decided_at = 0.0
        self._over = Event()
        self._watch = Watch(plan.abort_error_ratio, plan.abort_p99_seconds, plan.users)

    def may_begin(self) -> bool:
        """Take one of the requests that are left; false where the test is over."""
        if self._over.is_set() or self.begun >= self.plan.maximum_requests:
            return False
        self.begun += 1
        return True

    def note(self, path: str, seconds: float, failure: str) -> None:
        """Count one request that has ended."""
        if self._over.is_set():
            return  # what was cut off at the end was our doing
        failed = bool(failure)
        stretch = int((time.monotonic() - self.started) / self.plan.duration_seconds * STRETCHES)
        self.course[min(stretch, STRETCHES - 1)].add(seconds, failed=failed)
        self.pages[path].add(seconds, failed=failed)
        self.requests += 1
        if failed and (failure in self.kinds or len(self.kinds) < MOST_KINDS):
            self.kinds[failure] = self.kinds.get(failure, 0) + 1
        self._watch.note(seconds, failed=failed)
        self.look()
        if self.requests >= self.plan.maximum_requests:
            self.end("requests", "")

    def look(self) -> None:
        """End the test where the last requests, or those without an answer, say that it is enough."""
        now = time.monotonic()
        reason = self._watch.reason(now - began for began in self.in_flight.values())
        if reason:
            self.end("aborted", reason)

    def end(self, kind: str, reason: str) -> None:
        """Let no further request begin; the first reason stands."""
        if not self._over.is_set():
            self.kind, self.reason, self.decided_at = kind, reason, time.monotonic()
            self._over.set()

    def wait(self) -> None:
        """Return when the test is to end."""
        said = 0.0
        while not self._over.wait(TICK_SECONDS):
            passed = time.monotonic() - self.started
            self.look()
            if passed >= self.plan.duration_seconds:
                self.end("time", "")
            if passed - said >= PROGRESS_SECONDS:
                said = passed
                _say({"seconds": passed, "requests": self.requests})

    def result(self, stopped_at: float) -> dict[str, Any]:
        """Return all that was counted."""
        lasted = self.decided_at - self.started
        return {
            "result": {
                "kind": self.kind,
                "reason": self.reason,
                "lasted_seconds": lasted,
                "stopped_after_seconds": stopped_at - self.decided_at,
                "processor_ratio": (processor_seconds() - self.worked_before)
                / max(0.001, stopped_at - self.started),
                "kinds": self.kinds,
                "pages": {path: tally.to_json() for path, tally in self.pages.items()},
                "course": [tally.to_json() for tally in self.course],
                "stretch_seconds": self.plan.duration_seconds / STRETCHES,
                "locust": locust.__version__,
            }
        }


def processor_seconds() -> float:
    """Return for how long this process has used a processor so far, or waited for one.

    The waiting is that of the main thread, which makes all requests (proc(5), /proc/pid/schedstat); where
    there is no such file only the use is known.
    """
    try:
        waited = int(_SCHEDULED.read_text().split()[1]) / 1e9
    except (OSError, ValueError, IndexError):
        waited = 0.0
    return time.process_time() + waited


def user_class(load: Load) -> type[FastHttpUser]:
    """Return what a visitor does: one page after the other, chosen by their shares."""
    plan = load.plan
    paths = [page.path for page in plan.pages]
    shares = [page.share_ratio for page in plan.pages]
    choose = random.Random(0)  # noqa: S311 - the same test is the same mixture each quarter

    def visit(self: FastHttpUser) -> None:
        if not load.may_begin():
            gevent.sleep(TICK_SECONDS)
            return
        path = choose.choices(paths, shares)[0]
        require_allowed(plan.base_url + path, plan.allowed_hosts)
        began = load.in_flight[id(self)] = time.monotonic()
        try:
            response = self.client.get(
                path,
                name=path,
                allow_redirects=False,
                headers={"User-Agent": AGENT, **plan.headers},
            )
            failure = failure_in_words(response)
        finally:
            load.in_flight.pop(id(self), None)
        load.note(path, time.monotonic() - began, failure)

    return type(
        "Visitor",
        (FastHttpUser,),
        {
            "host": plan.base_url,
            "insecure": False,
            "max_redirects": 0,
            "max_retries": 0,
            "connection_timeout": plan.timeout_seconds,
            "network_timeout": plan.timeout_seconds,
            "wait_time": locust.constant_throughput(plan.requests_per_second / plan.users),
            "tasks": [visit],
        },
    )


def failure_in_words(response: Any) -> str:
    """Say what was wrong with an answer; empty for a page that came. A redirect is none."""
    status = response.status_code
    if status in range(200, 300):
        return ""
    if status:
        return f"status {status}"
    return type(getattr(response, "error", None)).__name__


def end_with_standard_input(load: Load) -> None:
    """End the test when whoever asked for it is gone."""
    while True:
        wait_read(0)
        if not os.read(0, 4096):
            load.end("cancelled", "whoever asked for it is gone")
            return


def _say(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


def _plan_line() -> bytes:
    """Read the first line and not a byte more: the rest is what is waited for."""
    line = bytearray()
    while not line.endswith(b"\n"):
        byte = os.read(0, 1)
        if not byte:
            raise SystemExit("no plan on standard input")
        line += byte
    return bytes(line)


def main() -> None:
    """Make the load, and say what came of it."""
    load = Load(Plan.from_json(json.loads(_plan_line())))
    environment = Environment(user_classes=[user_class(load)])
    runner = environment.create_local_runner()
    watcher = gevent.spawn(end_with_standard_input, load)
    load.started, load.worked_before = time.monotonic(), processor_seconds()
    runner.start(load.plan.users, spawn_rate=load.plan.users / max(0.1, load.plan.ramp_seconds))
    load.wait()
    runner.quit()
    _say(load.result(time.monotonic()))
    watcher.kill()


if __name__ == "__main__":
    main()
