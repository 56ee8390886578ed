"""Load tests: the fence, the pages, when it is enough, and what the figures are worth."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.conf import LoadTestTarget, Thresholds, parse_configuration
from maintenance.core.errors import ConfigurationError
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.web.latency_histogram import bucket_of, empty_counts
from maintenance.web.load_test.abort import MINIMUM_REQUESTS, Watch
from maintenance.web.load_test.fence import NotAllowed, require_allowed
from maintenance.web.load_test.options import LoadTestOptions
from maintenance.web.load_test.plan import Plan, pages_of, plan_of, route_of
from maintenance.web.load_test.process import Counted, Result
from maintenance.web.load_test.report import LeftOut, LoadTestRun, planned_report, report_of

NOW = 1_795_700_000.0


def target(**given: object) -> LoadTestTarget:
    return LoadTestTarget.model_validate(
        {
            "url": "http://127.0.0.1:8001/",
            "allowed_hosts": ["127.0.0.1"],
            "pages": {"/": 3, "/book/1": 1},
            **given,
        }
    )


# --- The fence -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://example.org/", ["example.org"]),
        ("https://EXAMPLE.org/a?b=http://evil.example", ["example.org"]),
        ("http://example.org:8000/", ["example.org"]),
        ("http://example.org:8000/", ["example.org:8000"]),
        ("https://example.org/", ["example.org:443"]),
        ("http://[::1]:8000/", ["[::1]"]),
    ],
)
def test_a_host_on_the_list_is_reached(url: str, allowed: list[str]) -> None:
    require_allowed(url, allowed)


@pytest.mark.parametrize(
    ("url", "allowed"),
    [
        ("http://example.org/", []),
        ("http://example.org.evil.example/", ["example.org"]),
        ("http://example.org@evil.example/", ["example.org"]),
        ("http://www.example.org/", ["example.org"]),
        ("http://example.org:8000/", ["example.org:80"]),
        ("http://example.org/", ["*"]),
        ("ftp://example.org/", ["example.org"]),
        ("http:///", ["example.org"]),
        ("http://example.org:port/", ["example.org"]),
    ],
)
def test_any_other_host_is_not(url: str, allowed: list[str]) -> None:
    with pytest.raises(NotAllowed):
        require_allowed(url, allowed)


@pytest.mark.parametrize(
    "path", ["book/1", "//evil.example/", "/a b", "/a#b", "\\\\evil", "", "/\r\n"]
)
def test_a_page_is_a_path_of_the_site_and_nothing_else(path: str) -> None:
    with pytest.raises(ConfigurationError, match="no path of the site"):
        parse_configuration({"load_test": {"a": {"url": "http://h/", "pages": {path: 1}}}})


@pytest.mark.parametrize(
    "host", ["*", "*.example.org", "http://example.org", "a b", "example.org/x"]
)
def test_an_allowed_host_is_one_host(host: str) -> None:
    with pytest.raises(ConfigurationError, match="is no host"):
        parse_configuration(
            {"load_test": {"a": {"url": "http://h/", "pages": {"/": 1}, "allowed_hosts": [host]}}}
        )


def test_it_is_off_and_allows_no_host_unless_the_operator_says_so() -> None:
    given_ = parse_configuration({"load_test": {"a": {"url": "http://h/", "pages": {"/": 1}}}})
    assert given_.load_test["a"].allow == given_.load_test["a"].allowed_hosts == ()


def test_a_log_that_is_not_there_is_told_at_start() -> None:
    with pytest.raises(ConfigurationError, match=r'load_test\.a\.log names "sit".*"site"'):
        parse_configuration(
            {
                "logs": {"site": {"path": "/a"}},
                "load_test": {"a": {"url": "http://h/", "log": "sit"}},
            }
        )


# --- The pages -----------------------------------------------------------------------------------


def test_pages_get_the_shares_that_were_given() -> None:
    pages = pages_of(target(), {})
    assert [(p.path, p.share_ratio) for p in pages] == [("/", 0.75), ("/book/1", 0.25)]


def test_a_page_may_get_its_share_from_the_log_by_its_route() -> None:
    requests = {"/": 300.0, "/book/{id}": 100.0}
    pages = pages_of(
        target(log="x", pages={"/": "log", "/book/7?page=2": "log", "/new": "log"}), requests
    )
    shares = {p.path: p.share_ratio for p in pages}
    # What the log does not know is as rare as the rarest that it does.
    assert shares == {"/": 0.6, "/book/7?page=2": 0.2, "/new": 0.2}


def test_without_pages_those_of_the_log_are_taken_that_stand_for_themselves_and_do_nothing() -> (
    None
):
    requests = {
        "/": 50.0,
        "/search": 30.0,
        "/book/{id}": 900.0,
        "/logout": 10.0,
        "/user/Delete": 9.0,
        "/user/delete-account": 9.0,
        "/logout.html": 9.0,
        "/log_out": 9.0,
        "/cart/empty": 9.0,
        "/cron/run": 9.0,
        "/catalog/outline": 8.0,
        "(other routes)": 5.0,
        "//evil.example/": 5.0,
        "/a b": 5.0,
        "/caf\u00e9": 5.0,
        "/x\r\nHost: evil.example": 5.0,
    }
    pages = pages_of(target(log="x", pages={}), requests)
    assert [p.path for p in pages] == ["/", "/search", "/catalog/outline"]


def test_routes_are_those_of_the_access_log() -> None:
    assert route_of("/book/17/cover.jpg?size=2") == "/book/{id}/cover.jpg"
    assert route_of("/") == "/"


@given(
    st.dictionaries(
        st.sampled_from(["/", "/a", "/b/{id}", "/c"]), st.floats(0, 1e9, allow_nan=False)
    )
)
def test_shares_are_of_one(requests: dict[str, float]) -> None:
    pages = pages_of(target(log="x", pages={}), requests)
    assert not pages or sum(p.share_ratio for p in pages) == pytest.approx(1)


def test_a_plan_survives_its_way_to_the_generator(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STAGING_LOGIN", "Basic eDp5")
    plan = plan_of(target(headers={"Authorization": "env:STAGING_LOGIN"}), {})
    assert Plan.from_json(plan.to_json()) == plan
    assert plan.headers == {"Authorization": "Basic eDp5"}


def test_a_login_stands_in_no_report() -> None:
    with pytest.raises(ConfigurationError, match="give its login under headers"):
        plan_of(target(url="http://ann:secret@127.0.0.1/"), {})


# --- When it is enough ---------------------------------------------------------------------------


def watch(**given: float) -> Watch:
    return Watch(**{"error_ratio": 0.1, "p99_seconds": 3.0, "users": 10, **given})  # type: ignore[arg-type]


def test_it_goes_on_while_pages_come() -> None:
    looking = watch()
    for _ in range(1000):
        looking.note(0.1, failed=False)
    assert not looking.reason()


def test_a_share_of_failures_is_enough_but_not_the_first_ones() -> None:
    looking = watch()
    for number in range(MINIMUM_REQUESTS - 1):
        looking.note(0.1, failed=number % 5 == 0)
        assert not looking.reason()
    looking.note(0.1, failed=True)
    assert looking.reason() == "5 of the last 20 requests failed; the limit is 10%"


def test_one_slow_request_is_chance_and_two_of_a_hundred_are_not() -> None:
    looking = watch()
    for number in range(100):
        looking.note(4.0 if number == 50 else 0.1, failed=False)
    assert not looking.reason()
    looking.note(4.0, failed=False)
    assert "2 of the last 101 requests took longer than 3,000 ms" in looking.reason()


def test_a_site_that_answers_nothing_is_noticed_by_those_who_wait() -> None:
    looking = watch()
    assert not looking.reason([2.9] * 10)
    assert looking.reason([3.1] * 5) == "5 of 10 users have waited for longer than 3,000 ms"


def test_what_is_long_over_does_not_count() -> None:
    looking = watch()
    for _ in range(50):
        looking.note(0.1, failed=True)
    for _ in range(200):
        looking.note(0.1, failed=False)
    assert not looking.reason()


# --- What the figures are worth ------------------------------------------------------------------


def counted(seconds: float, requests: int, failed: int = 0) -> Counted:
    counts = empty_counts()
    counts[bucket_of(seconds)] = requests
    return Counted(tuple(counts), requests, failed)


def result(**given: object) -> Result:
    fields = {
        "kind": "time",
        "reason": "",
        "lasted_seconds": 60.0,
        "stopped_after_seconds": 0.05,
        "processor_ratio": 0.1,
        "kinds": {},
        "pages": {"/": counted(0.1, 450), "/book/1": counted(0.8, 150)},
        "course": (counted(0.1, 300), counted(0.2, 300)),
        "stretch_seconds": 30.0,
        "locust": "2.47.0",
        **given,
    }
    return Result(**fields)  # type: ignore[arg-type]


def report(
    found: Result, before: dict[str, object] | None = None, left: tuple[LeftOut, ...] = ()
) -> Report:
    job = Job("copy", target(), LoadTestOptions(), previous_state=before or {})
    run = LoadTestRun(plan_of(target(), {}), found, left)
    return report_of(job, run, Thresholds(), NOW)


def codes(found: Report) -> set[str]:
    return {finding.code for finding in found.findings}


def test_a_slow_page_is_named_with_its_figures() -> None:
    found = report(result())
    (slow,) = [f for f in found.findings if f.code == "load-test-slow-page"]
    assert slow.subject == "/book/1"
    assert slow.evidence["p95_ms"] == pytest.approx(800, rel=0.02)
    assert "load-test-p95" in codes(found)
    assert {s.metric for s in found.samples} == {
        "load_test_p95_seconds",
        "load_test_p99_seconds",
        "load_test_error_ratio",
        "load_test_requests_per_second",
    }


def test_it_is_compared_with_the_last_time() -> None:
    first = report(result())
    second = report(result(pages={"/": counted(1.5, 600)}), dict(first.state))
    assert "load-test-slower" in codes(second)
    assert "p95 on 2026-11-26" in second.summary
    assert "load-test-slower" not in codes(report(result(), dict(first.state)))


def test_few_requests_have_no_p99_and_fewer_no_p95() -> None:
    found = report(result(pages={"/": counted(2.0, 50)}))
    assert "unavailable: the p99 under load needs 100 requests" in str(
        [f.sentence for f in found.findings]
    )
    found = report(result(pages={"/": counted(2.0, 10)}))
    assert found.facts["p95_ms"] is None
    assert not [f for f in found.findings if f.measured and f.code == "load-test-p95"]


def test_a_busy_generator_says_nothing_of_the_site_and_leaves_the_last_time_alone() -> None:
    before = {"p95": 0.1, "p99": 0.2, "at_epoch_seconds": NOW, "pages": {}}
    found = report(result(processor_ratio=0.95), before)
    assert codes(found) == {"load-test-generator-busy"}
    assert not found.samples
    assert found.state == before


def test_an_end_before_its_time_is_critical_and_says_how_quickly() -> None:
    found = report(
        result(kind="aborted", reason="5 of the last 20 requests failed; the limit is 10%")
    )
    (aborted,) = [f for f in found.findings if f.code == "load-test-aborted"]
    assert aborted.severity == "critical"
    assert "No user was at work 50 ms later" in aborted.sentence
    assert "(ended early)" in found.summary


def test_failures_and_pages_that_were_left_out_are_named() -> None:
    found = report(
        result(pages={"/": counted(0.1, 500, failed=50)}, kinds={"status 503": 50}),
        left=(LeftOut("/partner", "status 302, to evil.example"),),
    )
    told = {f.code: f.sentence for f in found.findings}
    assert (
        "50 of 500 requests (10 %) failed under load, most with status 503"
        in told["load-test-errors"]
    )
    assert told["load-test-page-left-out"] == (
        "/partner was left out of the load: status 302, to evil.example."
    )


def test_the_pace_is_the_sites_where_less_came_than_was_planned() -> None:
    assert report(result()).facts["pace_set_by"] == "plan"
    assert report(result(pages={"/": counted(1.0, 200)})).facts["pace_set_by"] == "site"


def test_a_dry_run_shows_pages_and_bounds() -> None:
    found = planned_report("copy", plan_of(target(), {}), {"p95": 0.1})
    assert found.state == {"p95": 0.1}
    assert found.outcomes[0].verdict == "planned"
    assert "at most 10 requests a second and 10,000 in all, for 60 s" in found.summary
