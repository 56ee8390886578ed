"""Settings advice on a real server: the lines are accepted, hold, and leave nothing to change."""

import secrets
from collections.abc import Iterator
from pathlib import Path

import pytest

from maintenance.conf import DatabaseTarget, ServerFacts, Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.postgres.settings.review import review_database_settings
from service.embedded.ports import LOOPBACK
from service.embedded.postgres import EmbeddedPostgres
from tests.polling import eventually
from tests.postgres_clients import ask, narrow_role

#: A machine for which every setting of the guide would be different from PostgreSQL's own.
MACHINE = ServerFacts(memory_bytes=2 * 1024**3, cpu_count=2, storage="ssd")


class PlainPostgres(EmbeddedPostgres):
    """A server that takes its settings from its files alone."""

    def __init__(self, state_dir: Path, password: str) -> None:
        super().__init__(state_dir, password)
        self._settings = {"listen_addresses": LOOPBACK}


def review(url: str, facts: ServerFacts = MACHINE) -> Report:
    target = DatabaseTarget(url=url, server=facts)
    return review_database_settings(Job("site", target, NoOptions()), Thresholds())


def changes(report: Report) -> dict[str, Finding]:
    return {finding.subject: finding for finding in report.findings if finding.code == "setting"}


def lines(report: Report) -> str:
    (finding,) = [f for f in report.findings if f.code == "settings-fragment"]
    return finding.commands[0]


@pytest.fixture
def plain(server_root: Path) -> Iterator[PlainPostgres]:
    server = PlainPostgres(server_root / f"plain-{secrets.token_hex(4)}", secrets.token_hex(16))
    with server:
        yield server


def test_the_lines_are_accepted_hold_and_leave_nothing_to_change(plain: PlainPostgres) -> None:
    before = review(plain.url())
    expected = {
        "shared_buffers",
        "work_mem",
        "maintenance_work_mem",
        "random_page_cost",
        "autovacuum_naptime",
        "autovacuum_vacuum_scale_factor",
        "autovacuum_analyze_scale_factor",
        "idle_in_transaction_session_timeout",
        "shared_preload_libraries",
    }
    assert expected <= changes(before).keys()
    plain.stop()
    with (plain.data_dir / "postgresql.auto.conf").open("a") as file:
        file.write(lines(before) + "\n")
    plain.start()

    errors = "SELECT name, error FROM pg_file_settings WHERE error IS NOT NULL OR NOT applied"
    assert ask(plain.url(), f"{errors} AND sourcefile LIKE '%auto.conf'") == []
    for name, finding in changes(before).items():
        assert ask(plain.url(), f"SHOW {name}") == [(finding.evidence["recommended"],)]
    assert ask(plain.url(), "SHOW pg_stat_statements.max") == [("10000",)]
    assert changes(review(plain.url())) == {}


def test_the_statements_change_settings_and_undo_brings_the_old_ones_back(
    plain: PlainPostgres,
) -> None:
    found = changes(review(plain.url()))
    # Those that need a restart are started with, too.
    for finding in found.values():
        for command in finding.commands:
            ask(plain.url(), command)
    plain.stop()
    plain.start()
    assert changes(review(plain.url())) == {}
    for finding in found.values():
        for command in finding.undo:
            ask(plain.url(), command)
    plain.stop()
    plain.start()
    again = changes(review(plain.url()))
    assert {n: f.evidence["current"] for n, f in again.items()} == {
        n: f.evidence["current"] for n, f in found.items()
    }


def reloaded(server: EmbeddedPostgres, pending: str) -> None:
    marked = f"SELECT 1 FROM pg_settings WHERE name = '{pending}' AND pending_restart"
    ask(server.url(), "SELECT pg_reload_conf()")
    eventually(lambda: bool(ask(server.url(), marked)), 20, f"{pending} is marked")


def test_a_change_in_a_file_awaits_a_restart(plain: PlainPostgres) -> None:
    ask(plain.url(), "ALTER SYSTEM SET shared_buffers = '96MB'")
    reloaded(plain, "shared_buffers")
    report = review(plain.url())
    (waiting,) = [f for f in report.findings if f.code == "settings-await-restart"]
    assert waiting.evidence == {"settings": ["shared_buffers"]}
    assert "shared_buffers" not in changes(report)


def test_what_the_command_line_sets_awaits_nothing_whatever_a_file_says(server_root: Path) -> None:
    state_dir = server_root / f"plain-{secrets.token_hex(4)}"
    settings = {"shared_buffers": "64MB"}  # initdb's file says 128MB
    with EmbeddedPostgres(state_dir, secrets.token_hex(16), settings=settings) as server:
        reloaded(server, "shared_buffers")
        report = review(server.url())
        assert not [f for f in report.findings if f.code == "settings-await-restart"]
        assert changes(report)["shared_buffers"].commands == ()
        server.stop()
        server.start()
        assert ask(server.url(), "SHOW shared_buffers") == [("64MB",)]


def test_a_danger_on_the_command_line_is_named_and_nothing_to_run_is_offered(
    postgres_server: EmbeddedPostgres,
) -> None:
    # The tests' own server forgoes durability, which is what this is for.
    finding = changes(review(postgres_server.url()))["fsync"]
    assert finding.severity is Severity.CRITICAL
    assert "command line" in finding.advice
    assert finding.commands == ()


def test_a_narrow_role_says_what_it_cannot_see(postgres_server: EmbeddedPostgres) -> None:
    with narrow_role(postgres_server.url()) as narrow:
        report = review(narrow)
    (hidden,) = [f for f in report.findings if f.code == "settings-hidden"]
    assert "GRANT pg_read_all_settings" in hidden.sentence
    with narrow_role(postgres_server.url(), "pg_monitor") as narrow:
        assert not [f for f in review(narrow).findings if f.code == "settings-hidden"]


def test_our_own_sessions_settings_are_not_taken_for_the_servers(
    postgres_server: EmbeddedPostgres,
) -> None:
    finding = changes(review(postgres_server.url()))["idle_in_transaction_session_timeout"]
    assert finding.evidence["current"] == "0"


def test_a_server_on_this_machine_is_seen(postgres_server: EmbeddedPostgres) -> None:
    report = review(postgres_server.url(), ServerFacts())
    assert report.facts["machine_known_from"] == "this machine"
    assert report.facts["memory_bytes"] > 0
    assert any("server.storage" in f.sentence for f in report.findings)
