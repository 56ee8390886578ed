"""The check "cache" under each preset: the cache beside streams and the one beside queues are looked at."""

import json
from io import StringIO
from typing import Any

import pytest
import redis
from django.core.management import call_command

from maintenance.machines.health import answers
from tests.command_line import DOWN_REDIS, PASSWORD

pytestmark = pytest.mark.django_db

PATH = "/maintenance/health/checks/cache/"
#: By preset: the variable that names its cache's server, and how that server's report begins.
PRESETS = {
    "bookwyrm": ("REDIS_ACTIVITY_URL", "activity"),
    "paperless-ngx": ("PAPERLESS_REDIS", "site"),
}
#: Few reads are no ratio; the guide's target is judged from here on.
READS = 2_000


@pytest.fixture(params=PRESETS)
def preset(request: pytest.FixtureRequest, settings: Any) -> str:
    """A site whose configuration is its preset alone."""
    settings.MAINTENANCE = {"preset": request.param}
    answers.forget()
    return str(request.param)


def checked() -> tuple[int, dict[str, Any]]:
    """Run the command; return its exit code and its reports by title."""
    out, code = StringIO(), 0
    try:
        call_command("health_check", "--check", "cache", "--format", "json", stdout=out)
    except SystemExit as ended:
        code = int(ended.code or 0)
    return code, {report["title"]: report for report in json.loads(out.getvalue())["reports"]}


def test_a_cache_that_is_up_answers_and_its_hit_ratio_is_looked_at(
    preset: str, redis_url: str, monkeypatch: pytest.MonkeyPatch, client_with: Any
) -> None:
    variable, server = PRESETS[preset]
    monkeypatch.setenv(variable, redis_url)
    with redis.Redis.from_url(redis_url) as client, client.pipeline(transaction=False) as batch:
        for number in range(READS):
            batch.get(f"django_cache:1:missing-{number}")
        batch.execute()

    _code, reports = checked()
    over_http = client_with("view_run").get(PATH)

    assert reports["Cache site"]["summary"] == 'The cache "site" answers.'
    found = {finding["code"] for report in reports.values() for finding in report["findings"]}
    ratio = reports[f"Cache hit ratio of {server}"]
    if preset == "bookwyrm":
        assert "cache-hit-ratio" in found
        assert over_http.json()["cache"].startswith("warning: Only 0 %")
    else:  # its queues are asked for while they are empty
        assert "no ratio of a cache" in ratio["summary"]
    assert over_http.status_code == 200


def test_a_cache_that_is_down_is_critical(
    preset: str, monkeypatch: pytest.MonkeyPatch, client_with: Any
) -> None:
    monkeypatch.setenv(PRESETS[preset][0], DOWN_REDIS)

    code, reports = checked()
    over_http = client_with("view_run").get(PATH)

    assert code != 0
    assert "Cache site" in reports
    assert {report["severity"] for report in reports.values()} == {"critical"}
    assert over_http.status_code == 500
    assert over_http.json()["cache"].startswith("critical: unavailable: ")
    assert PASSWORD not in json.dumps(reports) + over_http.content.decode()


def test_an_alias_that_django_does_not_have_hides_no_other_cache(
    settings: Any, redis_url: str
) -> None:
    settings.MAINTENANCE = {"caches": {"gone": {"alias": "gone"}, "here": {"url": redis_url}}}

    _code, reports = checked()

    assert reports["Cache gone"]["severity"] == "critical"
    assert 'Django has no cache "gone"' in reports["Cache gone"]["summary"]
    assert reports["Cache here"]["summary"] == 'The cache "here" answers.'
