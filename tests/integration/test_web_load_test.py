"""Load tests of real servers by real Locust: what it reaches, where it ends, how quickly it stops."""

import re
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from maintenance.conf import LoadTestTarget, Thresholds
from maintenance.core.errors import Cancelled, Skipped
from maintenance.core.job import Job, SilentProgress
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report
from maintenance.web.load_test.options import LoadTestOptions
from maintenance.web.load_test.run import run_load_test
from tests.earlier_attempts import OfEarlierAttempt
from tests.polling import eventually
from tests.up_process import ROOT


class Site(ThreadingHTTPServer):
    """Counts what it is asked for; its pages turn bad when they are told to."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Pages)
        self.asked: list[tuple[float, str]] = []
        self.agents: set[str] = set()
        self.turns_bad_after = 10**9
        self.elsewhere = ""
        self.release = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}/"

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A load that ends cuts its connections."""


class Pages(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: Site

    def do_GET(self) -> None:
        site = self.server
        site.asked.append((time.monotonic(), self.path))
        site.agents.add(self.headers.get("User-Agent", ""))
        is_bad = len(site.asked) > site.turns_bad_after
        if self.path == "/hangs" and is_bad:
            site.release.wait(20)
        if self.path.startswith("/away") or (self.path == "/moves" and is_bad):
            self.answer(302, Location=site.elsewhere)
        elif self.path == "/slow":
            time.sleep(0.12)
            self.answer(200)
        else:
            self.answer(503 if self.path == "/fails" and is_bad else 200)

    def answer(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Say nothing."""


@pytest.fixture
def sites() -> Iterator[tuple[Site, Site]]:
    """Two sites on two ports: one to test, and one that nobody allowed."""
    pair = Site(), Site()
    threads = [threading.Thread(target=site.serve_forever, args=(0.05,)) for site in pair]
    for thread in threads:
        thread.start()
    pair[0].elsewhere = pair[1].url
    yield pair
    for site, thread in zip(pair, threads, strict=True):
        site.release.set()
        site.shutdown()
        thread.join()
        site.server_close()


def job(site: Site, pages: dict[str, float], **given: Any) -> Job[LoadTestTarget, LoadTestOptions]:
    target = LoadTestTarget.model_validate(
        {
            "url": site.url,
            "allowed_hosts": [f"127.0.0.1:{site.server_address[1]}"],
            "pages": pages,
            "users": 4,
            "requests_per_second": 60,
            "ramp_seconds": 0,
            "duration_seconds": 2,
            **given,
        }
    )
    return Job("copy", target, LoadTestOptions())


def run(work: Job[LoadTestTarget, LoadTestOptions]) -> Report:
    return run_load_test(work, Thresholds(response_p95_ms=100), {})


def test_pages_are_asked_for_by_their_shares_and_the_slow_one_is_named(
    sites: tuple[Site, Site],
) -> None:
    site, _ = sites
    report = run(job(site, {"/": 3, "/slow": 1}))
    rows = {row[0]: row for row in report.tables[0].rows}
    requests = {path: row[2] for path, row in rows.items()}
    assert report.facts["ended_by"] == "time"
    # One look at each page before; those under way at the end were cut off.
    assert 0 <= len(site.asked) - 2 - sum(requests.values()) <= 4
    assert 1.5 < requests["/"] / requests["/slow"] < 6
    assert 60 < sum(requests.values()) <= 125
    assert {f.subject for f in report.findings if f.code == "load-test-slow-page"} == {"/slow"}
    assert site.agents == {"celery-maintenance (load test)"}


def test_redirects_lead_nowhere_before_and_during_the_load(sites: tuple[Site, Site]) -> None:
    site, elsewhere = sites
    site.turns_bad_after = 20
    report = run(job(site, {"/": 1, "/away": 1, "/moves": 1}, abort_error_ratio=1))
    told = {f.subject: f.sentence for f in report.findings if f.code == "load-test-page-left-out"}
    assert "status 302" in told["/away"]
    assert [path for _, path in site.asked].count("/away") == 1
    failed = next(f for f in report.findings if f.code == "load-test-errors")
    assert set(failed.evidence["kinds"]) == {"status 302"}
    assert elsewhere.asked == []


def test_a_host_that_is_not_allowed_gets_no_request(sites: tuple[Site, Site]) -> None:
    site, _ = sites
    for allowed in ([], ["localhost"], ["127.0.0.1:1"]):
        with pytest.raises(Skipped, match="is not one of allowed_hosts"):
            run(job(site, {"/": 1}, allowed_hosts=allowed))
    assert site.asked == []


def test_a_dry_run_sends_nothing(sites: tuple[Site, Site]) -> None:
    site, _ = sites
    work = job(site, {"/": 1})
    report = run(Job("copy", work.target, LoadTestOptions(dry_run=True)))
    assert "Would ask" in report.summary
    assert site.asked == []


@pytest.mark.parametrize(
    ("page", "good_ones", "reason"),
    [
        ("/fails", 40, "requests failed"),
        ("/hangs", 40, "requests took longer than 500 ms"),
        ("/hangs", 5, "[234] of 4 users have waited for longer than 500 ms"),
    ],
)
def test_it_stops_within_a_second_of_the_limit(
    sites: tuple[Site, Site], page: str, good_ones: int, reason: str
) -> None:
    site, _ = sites
    site.turns_bad_after = good_ones
    report = run(job(site, {page: 1}, duration_seconds=30, abort_p99_ms=500))
    ended = time.monotonic()
    aborted = next(f for f in report.findings if f.code == "load-test-aborted")
    assert re.search(reason, aborted.sentence)
    assert aborted.evidence["lasted_seconds"] < 5
    assert aborted.evidence["stopped_after_seconds"] < 1
    # Nobody was asked for anything any more while the report was made, nor afterwards.
    assert ended - max(at for at, _ in site.asked) > aborted.evidence["stopped_after_seconds"]
    asked = len(site.asked)
    site.release.set()
    time.sleep(0.3)  # the absence of requests cannot be waited for
    assert len(site.asked) == asked


def test_no_more_requests_leave_than_were_allowed(sites: tuple[Site, Site]) -> None:
    site, _ = sites
    report = run(job(site, {"/": 1}, maximum_requests=15, duration_seconds=30))
    assert report.facts["ended_by"] == "requests"
    assert len(site.asked) == 16  # and the look before


def test_a_run_that_is_cancelled_leaves_no_load_behind(sites: tuple[Site, Site]) -> None:
    site, _ = sites

    class Impatient(SilentProgress):
        def update(
            self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
        ) -> None:
            if done >= 20:
                raise Cancelled("that is enough")

    work = job(site, {"/": 1}, duration_seconds=30)
    with pytest.raises(Cancelled):
        run(Job("copy", work.target, LoadTestOptions(), progress=Impatient()))
    ended = time.monotonic()
    time.sleep(0.3)  # the absence of requests cannot be waited for
    assert max(at for at, _ in site.asked) < ended + 0.05


KILLED = """
import sys
from maintenance.conf import LoadTestTarget, Thresholds
from maintenance.core.job import Job
from maintenance.web.load_test.options import LoadTestOptions
from maintenance.web.load_test.run import run_load_test
target = LoadTestTarget.model_validate_json(sys.argv[1])
run_load_test(Job("copy", target, LoadTestOptions()), Thresholds(), {})
"""


def test_the_load_ends_with_a_worker_that_is_killed(sites: tuple[Site, Site]) -> None:
    site, _ = sites
    target = job(site, {"/": 1}, duration_seconds=60).target.model_dump_json()
    worker = subprocess.Popen([sys.executable, "-c", KILLED, target], cwd=ROOT)
    eventually(lambda: len(site.asked) > 20, 30, "the load has begun")
    worker.kill()
    worker.wait()
    killed = time.monotonic()
    eventually(lambda: time.monotonic() - site.asked[-1][0] > 1, 10, "nobody asks any more")
    assert site.asked[-1][0] - killed < 1


def test_an_attempt_that_was_lost_under_load_is_not_repeated(sites: tuple[Site, Site]) -> None:
    site, _ = sites
    work = job(site, {"/": 1})
    steps = OfEarlierAttempt(Outcome(Action("load test", "copy", "", ""), Verdict.PLANNED))
    with pytest.raises(Skipped, match="is not repeated by itself"):
        run(Job("copy", work.target, LoadTestOptions(), steps=steps))
    assert len(site.asked) == 1  # the look before


def test_a_site_that_is_down_is_skipped_with_the_reason(sites: tuple[Site, Site]) -> None:
    site, _ = sites
    with pytest.raises(Skipped, match=r"no page of .* answers as a page should .*refused"):
        run(job(site, {"/": 1}, url="http://127.0.0.1:9/", allowed_hosts=["127.0.0.1"]))


# Two that want the same processor: what it waits for is its own time, too. Ends with its parent.
STARVED = """
import os, signal, time
from maintenance.web.load_test.generator import processor_seconds
os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
rival = os.fork()
if not rival:
    signal.alarm(20)
    while True:
        pass
before, used_before, began = processor_seconds(), time.process_time(), time.monotonic()
while time.monotonic() - began < 1:
    pass
lasted = time.monotonic() - began
print((processor_seconds() - before) / lasted, (time.process_time() - used_before) / lasted)
os.kill(rival, signal.SIGKILL)
"""


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="no scheduler's statistics")
def test_a_generator_that_waits_for_a_processor_counts_as_busy() -> None:
    done = subprocess.run(
        [sys.executable, "-c", STARVED], cwd=ROOT, capture_output=True, text=True, check=True
    )

    wanted, used = map(float, done.stdout.split())
    assert wanted > 0.9
    assert wanted > used + 0.1
