"""One analysis that fails, is slow or is cut off leaves the others standing."""

import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import pytest

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.errors import ConfigurationError, TargetUnavailable
from maintenance.core.job import History, NoHistory
from maintenance.core.reports import Report
from maintenance.postgres import analyses, checks, connection, sql_files
from maintenance.postgres.analyses import ANALYSES
from maintenance.postgres.checks import run_analyses
from maintenance.postgres.connection import connect
from maintenance.postgres.driver import WatchedSession
from maintenance.postgres.time_budget import TimeBudget
from service.embedded.postgres import EmbeddedPostgres
from tests.postgres_clients import ask, narrow_role

NAMES = list(ANALYSES)
#: Those that follow one another: what is done beside them may have ended before or after any.
IN_TURN = [name for name in NAMES if not ANALYSES[name].reads_pages]


def run(url: str, names: list[str] = NAMES, **more: Any) -> dict[str, Report]:
    target = DatabaseTarget(url=url, **more.pop("target", {}))
    return dict(zip(names, run_analyses("site", target, names, Thresholds(), **more), strict=True))


def reasons(reports: Mapping[str, Report]) -> dict[str, str]:
    """Return why each analysis gave no answer, for those that gave none."""
    return {
        name: finding.sentence
        for name, report in reports.items()
        for finding in report.findings
        if finding.code == "not-measured"
    }


def instead(monkeypatch: pytest.MonkeyPatch, **others: Callable[..., Report]) -> None:
    """Let other functions stand behind some names."""
    replaced = dict(ANALYSES)
    for name, measure in others.items():
        known = ANALYSES[name]
        replaced[name] = replace(known, parts=(replace(known.parts[0], measure=measure),))
    monkeypatch.setattr(analyses, "ANALYSES", replaced)


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    url = make_database()
    ask(url, "CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 1000) AS i")
    return url


def test_one_that_is_too_slow_for_the_server_costs_itself_alone(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def slow(job: Any, thresholds: Thresholds) -> Report:
        with connect(job.target, statement_timeout_seconds=0.001) as conn, conn.cursor() as cursor:
            cursor.execute("SELECT pg_catalog.pg_sleep(60)")
        raise AssertionError("the server let it pass")

    instead(monkeypatch, indexes=slow)

    reports = run(url)

    assert list(reasons(reports)) == ["indexes"]
    assert "statement timeout" in reasons(reports)["indexes"]
    assert "raise statement_timeout_seconds" in reports["indexes"].findings[0].advice


def test_every_one_has_the_statement_timeout_of_its_target(url: str) -> None:
    """With a millisecond each may fail, and each says by itself why."""
    reports = run(url, target={"statement_timeout_seconds": 0.001})
    assert list(reports) == NAMES
    # One that is quick enough says what it says without a limit. A limit that falls on the end of
    # its statement takes the next one, which the server then calls canceled by a user.
    usual = reasons(run(url))
    ended = ("statement timeout", "due to user request")
    others = {n: r for n, r in reasons(reports).items() if not any(e in r for e in ended)}
    assert {name: usual.get(name) for name in others} == others


@pytest.mark.parametrize("name", NAMES)
def test_no_statement_begins_once_the_time_is_used_up(
    url: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(checks, "TimeBudget", lambda _: TimeBudget(0))
    report = run(url, [name])[name]
    assert "did not end within" in reasons({name: report})[name]


def test_a_fault_of_one_is_told_and_logged(
    url: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(job: Any, thresholds: Thresholds) -> Report:
        raise KeyError("postgres://user:secret@host/db")

    instead(monkeypatch, blocking=broken)

    reports = run(url)

    assert list(reasons(reports)) == ["blocking"]
    assert "fault of its own (KeyError" in reasons(reports)["blocking"]
    assert "secret" not in reasons(reports)["blocking"]
    (record,) = caplog.records
    assert record.exc_info is not None
    assert record.exc_info[0] is KeyError


def test_one_whose_session_is_ended_costs_itself_alone(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def ended(job: Any, thresholds: Thresholds) -> Report:
        with connect(job.target) as conn, conn.cursor() as cursor:
            ask(url, "SELECT pg_terminate_backend(%s, 5000)", conn.info.backend_pid)
            cursor.execute("SELECT 1")
        raise AssertionError("the session survived")

    instead(monkeypatch, connections=ended)

    reports = run(url)

    assert list(reasons(reports)) == ["connections"]
    assert "was lost" in reasons(reports)["connections"]


def test_what_reads_pages_is_done_beside_the_others(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    meet = threading.Barrier(2, timeout=30)

    def waits_for_the_other(job: Any, thresholds: Thresholds) -> Report:
        with connect(job.target):
            meet.wait()
        return Report(title="", summary="they met")

    instead(monkeypatch, blocking=waits_for_the_other, bloat=waits_for_the_other)

    reports = run(url, ["blocking", "bloat"])

    assert [report.summary for report in reports.values()] == ["they met", "they met"]


def test_what_is_done_beside_them_ends_when_nobody_waits_for_it_any_more(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun = threading.Event()

    def goes_on(job: Any, thresholds: Thresholds) -> Report:
        begun.set()
        while True:
            job.progress.update(0)

    def interrupted(job: Any, thresholds: Thresholds) -> Report:
        assert begun.wait(30)
        raise KeyboardInterrupt

    instead(monkeypatch, blocking=interrupted, bloat=goes_on)

    with pytest.raises(KeyboardInterrupt):
        run(url, ["blocking", "bloat"])


class Interruption:
    """What earlier runs left: nothing, but asking for the ``number``-th time does something."""

    def __init__(self, number: int, happening: Callable[[], object]) -> None:
        self._left, self._happening = number, happening

    def previous_state(self, task: str, target_name: str) -> Mapping[str, Any]:
        self._left -= 1
        if self._left == 0:
            self._happening()
        return {}

    def history(self, target_name: str) -> History:
        return NoHistory()


@pytest.fixture
def doomed(postgres_server: EmbeddedPostgres) -> tuple[str, Callable[[], object]]:
    """The URL of a database, and what drops it."""
    name = f"doomed_{secrets.token_hex(6)}"
    postgres_server.ensure_database(name)
    return postgres_server.url(name), lambda: ask(
        postgres_server.url(), f"DROP DATABASE {name} (FORCE)"
    )


def test_what_was_measured_before_the_database_was_dropped_stays(
    doomed: tuple[str, Callable[[], object]],
) -> None:
    url, drop = doomed
    reports = run(url, IN_TURN, earlier=Interruption(3, drop))
    lost = reasons(reports)
    assert list(lost) == IN_TURN[2:]
    assert all("does not exist" in reason for reason in lost.values())


def test_a_database_that_is_dropped_under_an_analysis(
    doomed: tuple[str, Callable[[], object]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, drop = doomed
    load = sql_files.load_sql
    asked: list[str] = []

    def load_and_drop(name: str, version: int) -> str:
        asked.append(name)
        if len(asked) == 2:
            drop()
        return load(name, version)

    monkeypatch.setattr(sql_files, "load_sql", load_and_drop)
    with pytest.raises(TargetUnavailable, match="cannot be reached"):
        run(url, IN_TURN)


def test_a_right_that_is_taken_away_meanwhile(url: str) -> None:
    with narrow_role(url, "pg_monitor") as narrow:
        name = ask(url, "SELECT current_database()")[0][0]
        ask(url, f"GRANT CONNECT ON DATABASE {name} TO PUBLIC")

        def take_away() -> None:
            ask(url, f"REVOKE CONNECT ON DATABASE {name} FROM PUBLIC")
            # A session that stands keeps what it was given.
            ask(
                url,
                "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
                " WHERE datname = %s AND application_name LIKE 'maintenance:%%'",
                name,
            )

        take = Interruption(2, take_away)
        lost = reasons(run(narrow, IN_TURN, earlier=take))
    assert list(lost) == IN_TURN[1:]
    assert all("GRANT CONNECT" in reason for reason in lost.values())


def test_a_server_that_is_too_old_is_refused_as_a_whole(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    class OlderSession(WatchedSession):
        server_version = 130_023

    with monkeypatch.context() as patch:
        patch.setattr(connection, "WatchedSession", OlderSession)
        with pytest.raises(ConfigurationError, match="version 13"):
            run(url)
