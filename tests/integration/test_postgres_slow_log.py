"""The log of a real server: in every format, through rotations, each slow statement counts once."""

import json
import secrets
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import psycopg2
import pytest

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.postgres.connection import connect
from maintenance.postgres.queries.review import review_slow_queries
from maintenance.postgres.queries.rules import SlowQueryOptions
from maintenance.postgres.queries.server_log import LogSettings
from maintenance.postgres.queries.server_log_events import LoggedStatement, LogTally
from maintenance.postgres.queries.server_log_files import FolderLog, LogSource, ServerLog
from maintenance.postgres.queries.server_log_formats import LogFormat, parser_of
from maintenance.postgres.queries.server_log_position import Reading, read_log
from maintenance.postgres.queries.slow_log import TITLE, review_slow_log
from maintenance.postgres.sql_files import query
from service.embedded.binaries import locate_postgres
from service.embedded.postgres import EmbeddedPostgres
from tests.polling import eventually
from tests.postgres_clients import ODD_NAME, Client, ask, narrow_role
from tests.servers import FAST_POSTGRES

SECRET = "correct-horse-battery"

#: jsonlog came with 15.
FORMATS = [f for f in LogFormat if f is not LogFormat.JSON or locate_postgres().major >= 15]

LOGGING = {
    **FAST_POSTGRES,
    "logging_collector": "on",
    "log_destination": ",".join(FORMATS),
    "log_min_duration_statement": "0",
    "log_temp_files": "0",
    "log_lock_waits": "on",
    "deadlock_timeout": "10ms",
    "log_filename": "postgresql-%H%M%S.log",
}


@pytest.fixture(scope="module")
def logging_server(server_root: Path) -> Iterator[EmbeddedPostgres]:
    """A server that collects its log in files of all formats."""
    with EmbeddedPostgres(
        server_root / "logging", secrets.token_hex(16), settings=LOGGING
    ) as server:
        yield server


@pytest.fixture
def url(logging_server: EmbeddedPostgres) -> Iterator[str]:
    """A database with a name of every odd sign, whose statements the log tells from others'."""
    name = f"{ODD_NAME[:40]} {secrets.token_hex(4)}"
    logging_server.ensure_database(name)
    yield logging_server.url(name)
    ask(logging_server.url(), f"DROP DATABASE {_quoted(name)} (FORCE)")


def _quoted(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'


class Reader:
    """Reads the log in one format, run after run."""

    def __init__(self, url: str, log_format: LogFormat, *, folder: str = "") -> None:
        self._target = DatabaseTarget(url=url)
        self._format = log_format
        self._folder = folder
        self.state: Mapping[str, Any] = {}
        with connect(self._target) as conn:
            settings = LogSettings(**query(conn, "server_log_settings")[0])
        assert settings.needs(folder=folder) == ""
        self._settings = settings
        self.tally = LogTally(settings.database_name)

    def run(self) -> Reading:
        with connect(self._target) as conn:
            directory = self._settings.directory or ""
            source: LogSource = ServerLog(conn, directory)
            if self._folder:
                source = FolderLog(self._folder)
            parser = parser_of(self._format, self._settings.line_prefix or "")
            reading = read_log(source, self._format, parser, self.tally, self.state)
        self.state = json.loads(json.dumps(reading.state))
        return reading

    def found(self, fragment: str) -> LoggedStatement | None:
        self.run()
        statements = [s for s in self.tally.statements.values() if fragment in s.text]
        assert len(statements) < 2
        return statements[0] if statements else None

    def wait_for(self, fragment: str, calls: int) -> LoggedStatement:
        def is_there() -> bool:
            found = self.found(fragment)
            return found is not None and found.calls >= calls

        eventually(is_there, 10, f"{calls} calls of {fragment} are read")
        found = self.found(fragment)
        assert found is not None
        return found


def log_folder(server: EmbeddedPostgres) -> str:
    return str(server.data_dir / "log")


@pytest.mark.parametrize("log_format", FORMATS)
@pytest.mark.parametrize("is_local", [True, False], ids=["folder", "server"])
def test_each_statement_counts_once_through_rotations(
    logging_server: EmbeddedPostgres, url: str, log_format: LogFormat, is_local: bool
) -> None:
    reader = Reader(url, log_format, folder=log_folder(logging_server) if is_local else "")
    first = reader.run()
    assert first.is_first
    for number in range(3):
        ask(url, f"SELECT\n\t{number} AS counted,\n '{SECRET}' AS name")
    _rotate(url)
    for number in range(2):
        ask(url, f"SELECT\n\t{number} AS counted,\n '{SECRET}' AS name")
    statement = reader.wait_for("counted", 5)
    assert statement.text == "SELECT ? AS counted, ? AS name"
    again = reader.run()
    assert (statement.calls, again.left_bytes, again.lost_files) == (5, 0, 0)
    assert again.malformed_lines == 0
    assert statement.worst_ms > 0
    assert SECRET not in json.dumps(reader.state) + repr(reader.tally)


def _rotate(url: str) -> None:
    def count() -> int:
        return int(ask(url, "SELECT count(*) FROM pg_ls_logdir()")[0][0])

    before = count()

    def has_rotated() -> bool:
        # A file has its second in its name: within the same one the server goes on in it.
        ask(url, "SELECT pg_rotate_logfile()")
        return count() > before

    eventually(has_rotated, 10, "the log is rotated")


@pytest.mark.parametrize("log_format", FORMATS)
def test_what_went_wrong_with_others_is_counted(url: str, log_format: LogFormat) -> None:
    reader = Reader(url, log_format)
    reader.run()
    before = reader.tally
    reader.tally = LogTally(before.database)
    ask(url, "CREATE TABLE shelf AS SELECT id, 'a' AS name FROM generate_series(1, 2) AS id")
    with pytest.raises(psycopg2.errors.QueryCanceled):
        ask(url, f"SET statement_timeout = 20; SELECT pg_sleep(60), '{SECRET}'")
    ask(
        url,
        "SET work_mem = '64kB'; SELECT count(*) FROM (SELECT a FROM generate_series(1, 50000) AS a ORDER BY random()) AS s",
    )
    with Client(url) as one, Client(url) as other:
        one.run("BEGIN; UPDATE shelf SET name = 'b' WHERE id = 1")
        other.run("BEGIN; UPDATE shelf SET name = 'b' WHERE id = 2")
        one.start("UPDATE shelf SET name = 'b' WHERE id = 2")

        def has_waited() -> bool:
            reader.run()
            return reader.tally.lock_waits == 1

        eventually(has_waited, 10, "the wait for the lock is read")
        with suppress(psycopg2.errors.DeadlockDetected):
            other.run("UPDATE shelf SET name = 'b' WHERE id = 1")

    def is_counted() -> bool:
        reader.run()
        tally = reader.tally
        return bool(tally.deadlocks and tally.cancellations and tally.temporary_bytes)

    eventually(is_counted, 10, "the events are read")
    assert reader.tally.cancellations == {"statement timeout": 1}
    assert reader.tally.deadlocks == 1
    assert reader.tally.temporary_bytes > 100_000
    assert SECRET not in repr(reader.tally)


def job(url: str, state: Mapping[str, Any] | None = None, **target: str) -> Any:
    options = SlowQueryOptions(minimum_mean_ms=50)
    return Job(
        "site",
        DatabaseTarget(url=url, **target),
        options,
        previous_state=state or {},  # type: ignore[arg-type]
    )


def of_code(report: Report, code: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.code == code]


def test_a_slow_call_is_named_with_its_time_and_without_its_values(
    logging_server: EmbeddedPostgres, url: str
) -> None:
    ask(url, f"SELECT pg_sleep(0.06) AS slept, '{SECRET}'")
    reports: list[Report] = []

    def is_named() -> bool:
        reports[:] = [
            review_slow_log(job(url, log_directory=log_folder(logging_server)), Thresholds())
        ]
        return bool(of_code(reports[0], "slow-statement-logged"))

    eventually(is_named, 10, "the slow call is named")
    (finding,) = of_code(reports[0], "slow-statement-logged")
    assert finding.sentence.startswith("One slow call of ")
    assert finding.sentence.endswith(" UTC: SELECT pg_sleep(?) AS slept, ?")
    assert finding.evidence["worst_ms"] >= 60
    assert reports[0].summary.startswith("In the newest ")
    assert " there is 1 slow call at " in reports[0].summary
    written = json.dumps(reports[0].to_json()) + json.dumps(dict(reports[0].state))
    assert SECRET not in written


def test_the_log_stands_in_for_the_extension(url: str) -> None:
    ask(url, "SELECT pg_sleep(0.06) AS slept")
    reports: list[Report] = []

    def is_named() -> bool:
        reports[:] = [review_slow_queries(job(url), Thresholds())]
        return bool(of_code(reports[0], "slow-statement-logged"))

    eventually(is_named, 10, "the slow call is named")
    assert [f.measured for f in of_code(reports[0], "slow-queries")] == [False]
    assert reports[0].state["log"]["files"]
    again = review_slow_queries(job(url, dict(reports[0].state)), Thresholds())
    assert of_code(again, "slow-statement-logged") == []


def test_beside_the_extension_it_names_no_statement_twice(url: str) -> None:
    ask(url, "CREATE EXTENSION pg_stat_statements")
    ask(url, "SELECT pg_sleep(0.06) AS slept")
    reports: list[Report] = []

    def is_logged() -> bool:
        reports[:] = [review_slow_queries(job(url), Thresholds())]
        slow = [row for row in reports[0].tables[-1].rows if "slept" in str(row)]
        return reports[0].tables[-1].title == TITLE and bool(slow)

    eventually(is_logged, 10, "the slow call is read")
    assert len(of_code(reports[0], "slow-query")) == 1
    assert of_code(reports[0], "slow-statement-logged") == []


def test_a_slow_call_of_a_statement_that_is_fast_on_average_is_named_beside_the_extension(
    url: str,
) -> None:
    ask(url, "CREATE EXTENSION pg_stat_statements")
    state = dict(review_slow_queries(job(url), Thresholds()).state)
    with Client(url) as client:
        for _number in range(40):
            client.run("SELECT pg_sleep(0) AS page")
        client.run("SELECT pg_sleep(0.06) AS page")
    reports: list[Report] = []

    def is_named() -> bool:
        reports[:] = [review_slow_queries(job(url, state), Thresholds())]
        return bool(of_code(reports[0], "slow-statement-logged"))

    eventually(is_named, 10, "the slow call is named")
    (finding,) = of_code(reports[0], "slow-statement-logged")
    assert finding.evidence["query"] == "SELECT pg_sleep(?) AS page"
    assert of_code(reports[0], "slow-query") == []


def test_beside_the_extension_a_log_that_says_nothing_is_unavailable_not_nothing(
    url: str, make_database: Callable[[], str]
) -> None:
    uncollected = make_database()
    for database in (url, uncollected):
        ask(database, "CREATE EXTENSION pg_stat_statements")
    name = ask(url, "SELECT current_database()")[0][0]
    ask(url, f"ALTER DATABASE {_quoted(name)} SET log_min_duration_statement = -1")
    state = dict(Reader(url, FORMATS[-1]).run().state)

    (off,) = of_code(review_slow_queries(job(url, {"log": state}), Thresholds()), "slow-log-off")
    (unread,) = of_code(review_slow_queries(job(uncollected), Thresholds()), "slow-log")

    assert "log_min_duration_statement = 50" in off.sentence
    assert "needs logging_collector = on" in unread.sentence
    assert not off.measured
    assert not unread.measured


def test_what_the_role_needs_is_named_step_by_step(
    logging_server: EmbeddedPostgres, url: str
) -> None:
    def need(url: str, **target: str) -> str:
        (finding,) = of_code(review_slow_log(job(url, **target), Thresholds()), "slow-log")
        assert not finding.measured
        return finding.sentence

    with narrow_role(url) as narrow_url:
        assert "GRANT pg_monitor TO narrow_" in need(narrow_url)
        # In a folder nothing of the server is needed.
        report = review_slow_log(
            job(narrow_url, log_directory=log_folder(logging_server)), Thresholds()
        )
        assert of_code(report, "slow-log") == []
    with narrow_role(url, "pg_monitor") as narrow_url:
        sentence = need(narrow_url)
        grant = sentence[sentence.index("GRANT EXECUTE") :].partition(" (with which")[0]
        ask(url, grant)
        assert of_code(review_slow_log(job(narrow_url), Thresholds()), "slow-log") == []
        assert "cannot be read: no such file" in need(url, log_directory="/nowhere/at/all")


def test_a_log_that_cannot_be_opened_leaves_the_rest_of_the_review_standing(
    logging_server: EmbeddedPostgres, url: str
) -> None:
    ask(url, "CREATE EXTENSION pg_stat_statements")
    ask(url, "SELECT 1 AS seen")
    files = list(Path(log_folder(logging_server)).iterdir())
    modes = [file.stat().st_mode for file in files]
    try:
        for file in files:
            file.chmod(0)
        report = review_slow_queries(job(url, {"log": {"kept": True}}), Thresholds())
    finally:
        for file, mode in zip(files, modes, strict=True):
            file.chmod(mode)
    assert report.facts["statements_seen"] > 0
    assert "a log that the server can read itself" in report.facts["log"]
    assert report.state["log"] == {"kept": True}


def test_a_server_that_collects_no_log_is_told_how(make_database: Callable[[], str]) -> None:
    report = review_slow_log(job(make_database()), Thresholds())
    (finding,) = report.findings
    assert "needs logging_collector = on" in finding.sentence
    assert report.summary == "The server's log cannot be read."


def test_no_duration_in_the_log_is_unavailable_not_nothing(
    logging_server: EmbeddedPostgres, url: str
) -> None:
    name = ask(url, "SELECT current_database()")[0][0]
    ask(url, f"ALTER DATABASE {_quoted(name)} SET log_min_duration_statement = -1")
    with connect(DatabaseTarget(url=url)) as conn:
        state = dict(Reader(url, FORMATS[-1]).run().state)
        assert conn.closed == 0
    report = review_slow_log(job(url, {"log": state}), Thresholds())
    (finding,) = of_code(report, "slow-log-off")
    assert "log_min_duration_statement = 50" in finding.sentence
