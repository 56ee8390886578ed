"""Activity of a real server: planted blockers, idle transactions and long statements are named."""

import json
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any
from urllib.parse import urlsplit

import pytest

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.errors import TargetUnavailable
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import YEAR_SECONDS, Job, NoHistory, Point
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.postgres.activity import review as activity
from tests.polling import eventually
from tests.postgres_clients import ODD_NAME, Client, ask, narrow_role

#: Everything that lasts at all is long.
IMPATIENT = Thresholds(long_running_seconds=1e-6)

SECRET = "correct horse"


def job(url: str) -> Job[DatabaseTarget, NoOptions]:
    return Job("site", DatabaseTarget(url=url), NoOptions())


def of_code(report: Report, code: str) -> list[Finding]:
    return [finding for finding in report.findings if finding.code == code]


def waits(report: Report) -> list[dict[str, Any]]:
    """Return those who wait, in the order of the tree."""
    (table,) = (t for t in report.tables if t.title == "Who waits for whom")
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    return [row for row in rows if row["depth"]]


def is_waiting(url: str, pid: int) -> bool:
    return ask(url, "SELECT cardinality(pg_blocking_pids(%s)) > 0", pid) == [(True,)]


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    """A database with one table of three rows."""
    url = make_database()
    ask(url, "CREATE TABLE shelf AS SELECT id, 'a' AS name FROM generate_series(1, 3) AS id")
    return url


@pytest.fixture
def clients(url: str) -> Iterator[Callable[[str], Client]]:
    """Call it for a session of an application; all are closed after the test."""
    with ExitStack() as stack:
        yield lambda name: stack.enter_context(Client(url, name))


@pytest.fixture
def chain(url: str, clients: Callable[[str], Client]) -> list[Client]:
    """Three sessions: the first sits idle in a transaction, the second waits, the third behind."""
    root, middle, last = (clients(name) for name in ("root app", "middle app", "last app"))
    root.run(f"BEGIN; UPDATE shelf SET name = '{SECRET}' WHERE id = 1")
    middle.run("BEGIN; UPDATE shelf SET name = 'b' WHERE id = 2")
    middle.start(f"UPDATE shelf SET name = '{SECRET}' WHERE id = 1")
    eventually(lambda: is_waiting(url, middle.pid), 5, "the second session waits")
    last.start("UPDATE shelf SET name = 'c' WHERE id = 2")
    eventually(lambda: is_waiting(url, last.pid), 5, "the third session waits")
    return [root, middle, last]


def test_a_chain_of_three_is_one_tree_with_the_idle_root_named(
    url: str, chain: list[Client]
) -> None:
    root, middle, last = chain
    report = activity.blocking(job(url), IMPATIENT)
    (finding,) = of_code(report, "blocking")
    assert finding.subject == f"process {root.pid}"
    assert finding.severity is Severity.CRITICAL
    assert f"Process {root.pid} " in finding.sentence
    assert "application root app, idle in transaction" in finding.sentence
    assert "keeps 2 sessions waiting" in finding.sentence
    shown = [(r["pid"], r["waits_for_pid"], r["depth"]) for r in waits(report)]
    assert shown == [(middle.pid, root.pid, 1), (last.pid, middle.pid, 2)]
    assert [row["statement"] for row in waits(report)] == [
        "UPDATE shelf SET name = ? WHERE id = ?"
    ] * 2
    assert report.summary.startswith("2 sessions wait for 1 other, the longest for ")
    assert {(s.metric, s.value > 0) for s in report.samples} == {
        ("blocked_sessions_count", True),
        ("longest_wait_seconds", True),
    }


def test_the_printed_command_ends_the_root_and_lets_the_others_go_on(
    url: str, chain: list[Client]
) -> None:
    (finding,) = of_code(activity.blocking(job(url), IMPATIENT), "blocking")
    (command,) = finding.commands
    assert ask(url, command) == [(True,)]
    eventually(lambda: not is_waiting(url, chain[1].pid), 5, "the second session goes on")
    assert ask(url, command) == []  # another transaction, if anybody: nobody else is hit
    after = activity.blocking(job(url), IMPATIENT)
    assert f"process {chain[0].pid}" not in {f.subject for f in after.findings}


def test_an_idle_transaction_that_wrote_is_named_with_what_it_holds_back(
    url: str, clients: Callable[[str], Client]
) -> None:
    idle = clients(ODD_NAME)
    idle.run(f"BEGIN; UPDATE shelf SET name = '{SECRET}' WHERE id = 1")

    def named() -> list[Finding]:
        report = activity.idle_in_transaction(job(url), IMPATIENT)
        return of_code(report, "idle-in-transaction")

    eventually(lambda: len(named()) == 1, 5, "the idle transaction is named")
    (finding,) = named()
    assert finding.subject == f"process {idle.pid}"
    assert finding.severity is Severity.WARNING
    assert "keeps VACUUM from removing rows that died in the last" in finding.sentence
    assert finding.sentence.endswith(
        "its last statement: BEGIN; UPDATE shelf SET name = ? WHERE id = ?"
    )


def test_an_aborted_transaction_shows_no_more_than_its_command(
    url: str, clients: Callable[[str], Client]
) -> None:
    broken = clients("broken app")
    with pytest.raises(Exception, match="syntax error"):
        broken.run(f"BEGIN; UPDTE {SECRET}")
    broken.run("BEGIN")
    with pytest.raises(Exception, match="does not exist"):
        broken.run("SELECT correct_horse")

    def named() -> list[Finding]:
        return of_code(activity.idle_in_transaction(job(url), IMPATIENT), "idle-in-transaction")

    eventually(lambda: len(named()) == 1, 5, "the aborted transaction is named")
    (finding,) = named()
    assert "idle in transaction (aborted)" in finding.sentence
    assert finding.evidence["statement"] == "SELECT"


def test_a_long_statement_is_named_and_the_printed_command_cancels_it(
    url: str, clients: Callable[[str], Client]
) -> None:
    slow = clients("slow app")
    slow.start(f"SELECT pg_sleep(60), '{SECRET}' FROM shelf WHERE id = 1")

    def named() -> list[Finding]:
        return of_code(activity.long_running(job(url), IMPATIENT), "long-running")

    eventually(lambda: len(named()) == 1, 5, "the long statement is named")
    (finding,) = named()
    assert finding.subject == f"process {slow.pid}"
    assert finding.sentence.endswith(": SELECT pg_sleep(?), ? FROM shelf WHERE id = ?")
    assert finding.evidence["query_id"] is not None
    assert ask(url, finding.commands[0]) == [(True,)]
    eventually(lambda: named() == [], 5, "the statement is cancelled")


def test_an_open_writer_stands_among_what_holds_back_vacuum(
    url: str, clients: Callable[[str], Client]
) -> None:
    writer = clients("writer")
    writer.run("BEGIN; UPDATE shelf SET name = 'b' WHERE id = 1")
    holders = activity.review_activity(job(url), Thresholds()).tables
    (table,) = [t for t in holders if t.title == "What keeps VACUUM from removing dead rows"]
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    assert [(r["kind"], r["name"]) for r in rows] == [("session", str(writer.pid))]


def test_nothing_of_what_people_wrote_reaches_the_report(url: str, chain: list[Client]) -> None:
    report = activity.review_activity(job(url), IMPATIENT)
    assert {"blocking", "idle-in-transaction"} <= {finding.code for finding in report.findings}
    assert SECRET not in json.dumps(report.to_json())
    assert [f.severity.rank for f in report.findings] == sorted(
        (f.severity.rank for f in report.findings), reverse=True
    )


def test_a_quiet_database_has_nothing_to_do(url: str) -> None:
    report = activity.review_activity(job(url), Thresholds())
    assert report.findings == ()
    assert report.summary.startswith("Nothing to do: ")
    assert report.summary.endswith(
        "no statement or transaction runs long; no session sits idle in a transaction;"
        " nothing holds back VACUUM for long; no session waits for another."
    )
    metrics = {sample.metric: sample.value for sample in report.samples}
    assert metrics["blocked_sessions_count"] == 0
    assert metrics["active_connections_count"] >= 0


def test_connections_are_counted_by_state(url: str, clients: Callable[[str], Client]) -> None:
    clients("idle app").run("SELECT 1")
    clients("busy app").start("SELECT pg_sleep(60)")
    limits = Thresholds(active_connections=1)

    def states() -> dict[tuple[str, str], int]:
        report = activity.connections(job(url), limits)
        (table,) = report.tables
        rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
        return {(r["application"], r["state"]): r["connections"] for r in rows}

    eventually(lambda: states().get(("busy app", "active")) == 1, 5, "the statement runs")
    assert states()["idle app", "idle"] == 1
    report = activity.connections(job(url), limits)
    assert [f.code for f in report.findings] == ["connections-active"]
    assert report.facts["max_connections"] == int(ask(url, "SHOW max_connections")[0][0])


def test_an_idle_reader_holds_back_nothing_and_an_idle_writer_does(
    url: str, clients: Callable[[str], Client]
) -> None:
    reader, writer = clients("reader"), clients("writer")
    reader.run("BEGIN; SELECT * FROM shelf")
    writer.run("BEGIN; UPDATE shelf SET name = 'b' WHERE id = 1")

    def idle() -> dict[str, str]:
        report = activity.idle_in_transaction(job(url), IMPATIENT)
        return {f.subject: f.sentence for f in of_code(report, "idle-in-transaction")}

    eventually(lambda: len(idle()) == 2, 5, "both are named")
    assert "keeps VACUUM" not in idle()[f"process {reader.pid}"]
    assert "keeps VACUUM" in idle()[f"process {writer.pid}"]
    report = activity.xmin(job(url), IMPATIENT)
    assert [f.subject for f in of_code(report, "xmin-held")] == [f"session {writer.pid}"]
    assert report.summary.startswith("VACUUM cannot yet remove rows that died in the last ")
    (finding,) = of_code(report, "xmin-held")
    assert ask(url, finding.commands[-1]) == [(True,)]
    eventually(
        lambda: not of_code(activity.xmin(job(url), IMPATIENT), "xmin-held"), 5, "it is let go"
    )


def test_a_waiting_change_of_a_table_is_named_as_the_one_to_cancel(
    url: str, clients: Callable[[str], Client]
) -> None:
    reader, change, *visitors = (clients(name) for name in ("reader", "change", "a", "b"))
    reader.run("BEGIN; SELECT * FROM shelf")
    change.start("ALTER TABLE shelf ADD COLUMN shape text")
    eventually(lambda: is_waiting(url, change.pid), 5, "the change waits")
    for visitor in visitors:
        visitor.start("SELECT count(*) FROM shelf")
        eventually(lambda v=visitor: is_waiting(url, v.pid), 5, "the visitor waits")  # type: ignore[misc]
    report = activity.blocking(job(url), IMPATIENT)
    (finding,) = of_code(report, "blocking")
    assert finding.subject == f"process {reader.pid}"
    assert (
        f"2 sessions could go on at once if process {change.pid} (AccessExclusiveLock on"
        in finding.sentence
    )
    assert [row["because"] for row in waits(report)] == [
        "holds the lock",
        "queued ahead",
        "queued ahead",
    ]
    assert ask(url, finding.commands[0]) == [(True,)]
    eventually(
        lambda: not any(is_waiting(url, visitor.pid) for visitor in visitors), 5, "both go on"
    )


# --- rights -----------------------------------------------------------------------------------


def test_without_the_right_the_state_of_others_is_unavailable_never_nothing(
    url: str, chain: list[Client]
) -> None:
    with narrow_role(url) as narrow_url:
        report = activity.review_activity(job(narrow_url), IMPATIENT)
    (finding,) = of_code(report, "session-state")
    assert not finding.measured
    assert "GRANT pg_read_all_stats TO narrow_" in finding.sentence
    assert not report.summary.startswith("Nothing to do")
    metrics = {sample.metric for sample in report.samples}
    assert not metrics & {"active_connections_count", "long_running_statements_count"}
    # Who blocks whom needs no right: only what they do stays hidden.
    (blocked,) = of_code(report, "blocking")
    assert blocked.subject == f"process {chain[0].pid}"
    assert {row["statement"] for row in waits(report)} == {""}
    assert of_code(report, "idle-in-transaction") == []


def test_pg_monitor_is_enough(url: str, chain: list[Client]) -> None:
    with narrow_role(url, "pg_monitor") as narrow_url:
        report = activity.review_activity(job(narrow_url), IMPATIENT)
    assert of_code(report, "session-state") == []
    assert len(of_code(report, "blocking")) == 1
    assert of_code(report, "idle-in-transaction")[0].subject == f"process {chain[0].pid}"


def test_a_server_that_is_down_is_said_to_be_down() -> None:
    with pytest.raises(TargetUnavailable, match="cannot be reached"):
        activity.review_activity(job("postgresql://a:b@127.0.0.1:1/site"), Thresholds())


def test_the_limits_of_roles_and_databases_are_counted(url: str) -> None:
    (name,) = ask(url, "SELECT current_database()")[0]
    ask(url, f"ALTER DATABASE {name} CONNECTION LIMIT 40")
    with narrow_role(url) as narrow, ExitStack() as stack:
        role = urlsplit(narrow).username
        ask(url, f"ALTER ROLE {role} CONNECTION LIMIT 2")
        for _ in range(2):
            stack.enter_context(Client(narrow, "app"))
        report = activity.connections(job(url), Thresholds())

    (finding,) = of_code(report, "connections-limited")
    assert finding.subject == f"role {role}"
    assert finding.severity is Severity.CRITICAL
    assert finding.evidence["used_connections"] == 2
    (table,) = (t for t in report.tables if t.title.startswith("Connection limits"))
    rows = {row[0]: row[1:3] for row in table.rows}
    assert rows[f"database {name}"] == (2, 40)
    assert report.facts["superuser_reserved_connections"] == 3


class _BusyMonday(NoHistory):
    """A history in which 90 of 100 connections were in use."""

    def highest(
        self, metric: str, subject: str = "", *, since_seconds: float = YEAR_SECONDS
    ) -> Point | None:
        return Point(1_790_000_000, 90) if metric == "connections_count" else None


def test_the_peak_of_earlier_runs_is_compared_with_the_limit(url: str) -> None:
    remembering = Job("site", DatabaseTarget(url=url), NoOptions(), history=_BusyMonday())
    report = activity.connections(remembering, Thresholds())
    (finding,) = of_code(report, "connections-peak")
    assert "90 of 97 available connections were in use" in finding.sentence
    assert report.facts["highest_connections"] == 90
