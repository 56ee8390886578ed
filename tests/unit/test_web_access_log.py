"""What is counted of an access log, and what is said of it."""

import math
import random
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import LogTarget, Thresholds, parse_configuration
from maintenance.core.errors import ConfigurationError
from maintenance.core.findings import Severity
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.web import routes as route_module
from maintenance.web.access_log import review_error_rates
from maintenance.web.latency_histogram import (
    RELATIVE_ERROR,
    SMALLEST_SECONDS,
    bucket_of,
    empty_counts,
    quantile,
)
from maintenance.web.routes import NOT_FOUND, OTHER_ROUTES, Routes, folded_word
from maintenance.web.tally import Tally

TIMED = (
    '$remote_addr - $remote_user [$time_local] "$request" $status $body_bytes_sent $request_time'
)
START = 1795615200  # 2026-11-25 14:00 UTC


def line(
    path: str, status: int = 200, seconds: float = 0.05, *, at: int = START, size: int = 1000
) -> str:
    when = f"{datetime.fromtimestamp(at, UTC):%d/%b/%Y:%H:%M:%S} +0000"
    return f'10.1.2.3 - - [{when}] "GET {path} HTTP/1.1" {status} {size} {seconds:.3f}\n'


def review(
    folder: Path, lines: Iterable[str], *, log_format: str = TIMED, previous: Report | None = None
) -> Report:
    path = folder / "access.log"
    with path.open("a") as file:
        file.writelines(lines)
    target = LogTarget(path=str(path), format=log_format)
    state = previous.state if previous else {}
    return review_error_rates(
        Job("site", target, NoOptions(), previous_state=state), Thresholds(), "UTC"
    )


def findings(report: Report) -> dict[tuple[str, str], str]:
    return {(f.code, f.subject): f.sentence for f in report.findings}


@given(
    st.lists(st.floats(SMALLEST_SECONDS * 1.01, 3600), min_size=1, max_size=300),
    st.sampled_from([0.5, 0.95, 0.99]),
)
def test_a_quantile_is_off_by_no_more_than_it_says(latencies, ratio):
    counts = empty_counts()
    for seconds in latencies:
        counts[bucket_of(seconds)] += 1
    truth = sorted(latencies)[max(1, math.ceil(ratio * len(latencies))) - 1]
    assert quantile(counts, ratio) == pytest.approx(truth, rel=RELATIVE_ERROR * 1.001)


@pytest.mark.parametrize(
    ("word", "folded"),
    [
        ("7", "{id}"),
        ("f81d4fae-7dec-11d0-a765-00a0c91e6bf6", "{uuid}"),
        ("d41d8cd98f00b204e9800998ecf8427e", "{hash}"),
        ("the-hobbit-1937", "{slug}"),
        ("cbr4q1-83a2f", "{slug}"),
        ("app.3f2a91bc.js", "{slug}.js"),
        ("a" * 41, "{slug}"),
        ("v1", "v1"),
        ("oauth2", "oauth2"),
        ("u29", "{slug}"),
        ("search", "search"),
        ("deadbeefdeadbeef", "deadbeefdeadbeef"),
        ("\u0664", "\u0664"),
    ],
)
def test_words_that_name_things_are_folded(word, folded):
    assert folded_word(word) == folded


@given(st.lists(st.text(st.characters(exclude_categories=("Cs",)), max_size=12), max_size=12))
def test_any_path_has_a_route(words):
    routes = Routes()
    path = ("/" + "/".join(words)).encode()
    routes.of(path).statuses[b"200"] = 1
    assert routes.of(path) is routes.of(path)
    assert len(routes.found()) == 1


def test_names_of_people_become_one_route_and_pages_stay():
    routes = Routes()
    names = ["".join(random.Random(n).choices("abcdefgh", k=9)) for n in range(500)]
    for name in names:
        for path in (f"/user/{name}", f"/user/{name}/books", "/search"):
            counts = routes.of(path.encode())
            counts.statuses[b"200"] = counts.statuses.get(b"200", 0) + 1
    found = {name: counts.requests for name, counts in routes.found().items()}
    assert found == {"/user/{name}": 500, "/user/{name}/books": 500, "/search": 500}


def test_the_number_of_routes_is_bounded_and_nothing_is_lost(monkeypatch):
    monkeypatch.setattr(route_module, "MAXIMUM_ROUTES", 50)
    chance = random.Random(5)
    tally = Tally(float, float, 0.5)
    rows = []
    for _ in range(5000):
        words = ["".join(chance.choices("abcdef", k=3)) for _ in range(chance.randint(1, 4))]
        rows.append((b"60", ("/" + "/".join(words)).encode(), b"503", b"7", b"0.9"))
    tally.add(rows)
    found = tally.counts.routes.found()
    assert len(found) <= 52
    assert OTHER_ROUTES in found
    assert sum(counts.requests for counts in found.values()) == 5000
    assert sum(counts.sent_bytes for counts in found.values()) == 35_000
    named = {id(counts) for counts in found.values()}
    assert all(id(route.current()) in named for route, _ in tally.counts.failed)


def test_a_burst_and_a_slow_route_are_named_with_their_minute(tmp_path):
    calm = [line("/", at=START + n) for n in range(3600)]
    burst = [line("/api/import", 502, at=START + 420 + n % 120) for n in range(300)]
    slow = [line(f"/report/{n}", 200, 2.0, at=START + 1800 + n % 60) for n in range(150)]
    lines = sorted([*calm, *burst, *slow], key=lambda text: text[16:36])
    report = review(tmp_path, lines)
    said = findings(report)
    assert said["server-error-burst", "/api/import"].startswith(
        "From 2026-11-25 14:07 UTC to 2026-11-25 14:08 UTC the server failed 300 of 420 requests"
    )
    assert (
        "At 2026-11-25 14:30 UTC, its worst minute, 150 took longer than 500 ms."
        in (said["slow-route", "/report/{id}"])
    )
    assert ("server-error-ratio", "site") in said
    assert report.severity is Severity.CRITICAL
    assert "4,050 requests from 2026-11-25 14:00 UTC to 2026-11-25 14:59 UTC" in report.summary


def test_a_healthy_log_has_no_finding(tmp_path):
    report = review(
        tmp_path, [line("/", 404 if n % 9 == 0 else 200, at=START + n) for n in range(999)]
    )
    assert report.findings == ()
    assert {row[0]: row[1] for row in report.tables[0].rows} == {"/": 888, NOT_FOUND: 111}


def test_a_route_that_became_slower_is_named(tmp_path):
    before = review(tmp_path, [line("/feed", seconds=0.1) for _ in range(200)])
    report = review(tmp_path, [line("/feed", seconds=0.4) for _ in range(200)], previous=before)
    assert "its p95 was 99 ms" in findings(report)["route-slower", "/feed"]
    assert report.facts["previous_requests"] == 200
    assert report.facts["requests"] == 200


def test_a_log_without_times_says_how_to_add_them(tmp_path):
    plain = ['::1 - - [25/Nov/2026:14:00:00 +0000] "GET / HTTP/1.1" 200 9 "-" "x"\n'] * 200
    report = review(tmp_path, plain, log_format="combined")
    (finding,) = report.findings
    assert not finding.measured
    assert "$request_time" in finding.sentence
    assert "response times are not in the log" in report.summary
    assert report.facts["p95_ms"] is None


def test_malformed_lines_are_counted_and_shown_without_what_they_say(tmp_path):
    lines = [line("/")] * 200
    lines[7] = '10.1.2.3 - - [25/Nov/2026:14:00:00 +0000] "GET /reset?token=hunter2secret\n'
    report = review(tmp_path, lines)
    (finding,) = report.findings
    assert finding.evidence["malformed_lines"] == 1
    assert '"aaa' not in finding.sentence
    assert '[9/a/9:9:9:9 +9] "a /a?a=a9a' in finding.sentence
    whole = str(report.to_json()) + str(report.state)
    assert "hunter2secret" not in whole
    offset = finding.evidence["first_offset_bytes"]
    assert (tmp_path / "access.log").read_bytes()[offset:].startswith(lines[7].encode())


def test_the_wrong_format_is_a_warning(tmp_path):
    report = review(tmp_path, [line("/")] * 50, log_format="%h %>s %r|%t")
    assert report.severity is Severity.WARNING
    assert report.summary == "None of 50 new lines fits the format of this log."


def test_queries_and_tokens_reach_no_report(tmp_path):
    lines = [line(f"/reset/MQ/c8x2-{n:032x}?email=ann@example.org") for n in range(300)]
    report = review(tmp_path, lines)
    whole = str(report.to_json()) + str(report.state)
    assert "example.org" not in whole
    assert "c8x2" not in whole
    assert "/reset/MQ/{slug}" in whole


def test_few_requests_and_none_support_no_verdict(tmp_path):
    report = review(tmp_path, [line("/", 500)] * 20)
    (finding,) = report.findings
    assert finding.code == "access-log-few-requests"
    assert report.samples == ()
    again = review(tmp_path, [], previous=report)
    assert again.summary == "Nothing was written to the log since the last run."


def test_times_that_cannot_be_stop_nothing(tmp_path):
    odd = line("/").replace("25/Nov/2026", "99/Foo/2026")
    report = review(tmp_path, [odd, *[line("/")] * 200, odd])
    assert report.facts["requests"] == 202


def test_the_section_is_checked_with_suggestions():
    with pytest.raises(ConfigurationError, match='Did you mean "timezone"'):
        parse_configuration({"logs": {"site": {"path": "/x", "timezon": "UTC"}}})
    with pytest.raises(ConfigurationError, match='Did you mean "Europe/Berlin"'):
        parse_configuration({"logs": {"site": {"path": "/x", "timezone": "Europe/Berln"}}})
