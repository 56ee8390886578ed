"""Whatever a database is like, each analysis and task gives a right answer or says why it cannot."""

import json
import math
import re
import secrets
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import pytest

import maintenance.tasks.postgres  # noqa: F401 - registers the tasks
from maintenance.conf import DatabaseTarget, Thresholds, configuration
from maintenance.core.errors import MaintenanceError, MissingRights, Skipped, TargetUnavailable
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.core.runs import accepted_targets
from maintenance.core.runs.registry import TargetKind, TaskSpec, all_tasks
from maintenance.postgres import connection, sql_files
from maintenance.postgres.analyses import ANALYSES
from maintenance.postgres.checks import run_analyses
from maintenance.postgres.driver import WatchedSession
from service.embedded.postgres import EmbeddedPostgres
from tests import postgres_zoo
from tests.polling import eventually
from tests.postgres_clients import ODD_NAME, Client, ask, narrow_role
from tests.postgres_standby import primary_and_standby
from tests.servers import stand_in_for_flush

#: Small enough for the tables of these tests.
THRESHOLDS = Thresholds(minimum_bloat_bytes=64 * 1024)

#: The locks of these tests outlast the analysis, so that whoever waits for one meets this limit.
IMPATIENT_SECONDS = 0.001

TASKS = [spec for spec in all_tasks() if spec.target_kind is TargetKind.DATABASE]


@pytest.fixture(autouse=True)
def no_accepted_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no ledger here, in which somebody could have accepted a target."""
    monkeypatch.setattr(accepted_targets, "configuration_in_force", configuration)


def analyze(target: DatabaseTarget, name: str) -> Report:
    (report,) = run_analyses("site", target, [name], THRESHOLDS)
    return report


def carry_out(target: DatabaseTarget, spec: TaskSpec) -> Report:
    options = spec.options_type(dry_run=True) if spec.has_dry_run else spec.options_type()
    return spec.function(Job("site", target, options))


def refused(
    work: Callable[[DatabaseTarget], Report],
    target: DatabaseTarget,
    expected: type[MaintenanceError],
    word: str,
) -> Report | None:
    """Return the report, or ``None`` where a task is refused for a reason with this word in it."""
    try:
        return work(target)
    except expected as error:
        if word not in str(error):
            raise
        return None


WORK: dict[str, Callable[[DatabaseTarget], Report]] = {
    **{name: lambda target, name=name: analyze(target, name) for name in ANALYSES},
    **{spec.short_name: lambda target, spec=spec: carry_out(target, spec) for spec in TASKS},
}
each = pytest.mark.parametrize("work", WORK.values(), ids=WORK)


def require_sound(report: Report) -> None:
    """Every number is one, every share lies between nothing and all, what is missing says so."""
    json.dumps(report.to_json(), allow_nan=False)
    assert report.summary
    for finding in report.findings:
        assert finding.measured is not finding.sentence.startswith("unavailable: "), finding
        assert "fault of its own" not in finding.sentence, finding
    for table in report.tables:
        for row in table.rows:
            for column, cell in zip(table.columns, row, strict=True):
                require_possible(f"{table.title}: {column}", column, cell)
    for sample in report.samples:
        require_possible(f"{sample.metric} {sample.subject}", sample.metric, sample.value)


def require_possible(where: str, name: str, value: Any) -> None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return
    assert math.isfinite(value), where
    if name.endswith(("_bytes", "_seconds", "_count", "_ratio")):
        assert value >= 0, where
    if name.endswith("_ratio"):
        assert value <= 1, where


@pytest.fixture(scope="module")
def zoo(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a database with everything in it, whose own name is odd as well."""
    with a_database(postgres_server, f"{ODD_NAME[:-20]} {secrets.token_hex(6)}") as url:
        ask(url, "CREATE EXTENSION pg_stat_statements")
        postgres_zoo.fill(url)
        yield url


@contextmanager
def a_database(server: EmbeddedPostgres, name: str = "") -> Iterator[str]:
    name = name or f"bad_input_{secrets.token_hex(6)}"
    server.ensure_database(name)
    yield server.url(name)
    ask(server.url(), f"DROP DATABASE {postgres_zoo.quoted(name)} (FORCE)")


@pytest.fixture(autouse=True)
def small_tables_count(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the tasks, too, look at tables as small as these."""
    whole = configuration().model_copy(update={"thresholds": THRESHOLDS})
    monkeypatch.setattr("maintenance.tasks.postgres.configuration", lambda: whole)


@pytest.fixture
def impatient(zoo: str) -> DatabaseTarget:
    return DatabaseTarget(url=zoo, lock_timeout_seconds=IMPATIENT_SECONDS)


@pytest.fixture
def lock_waits(postgres_server: EmbeddedPostgres) -> Callable[[], list[str]]:
    """Call it for the server's own words on locks that were waited for since the test began."""
    begin = postgres_server.log_path.stat().st_size

    def said() -> list[str]:
        with postgres_server.log_path.open("rb") as log:
            log.seek(begin)
            text = log.read().decode(errors="replace")
        return [line for line in text.splitlines() if "lock timeout" in line]

    return said


@each
def test_everything_that_is_odd(zoo: str, work: Callable[[DatabaseTarget], Report]) -> None:
    with postgres_zoo.somebodys_temporary_table(zoo):
        require_sound(work(DatabaseTarget(url=zoo)))


@pytest.fixture(
    scope="module", params=[(), ("pg_monitor",)], ids=["without-rights", "with-pg_monitor"]
)
def narrow(zoo: str, request: pytest.FixtureRequest) -> Iterator[str]:
    with narrow_role(zoo, *request.param, prefix=ODD_NAME[:-12]) as url:
        yield url


@each
def test_few_rights(zoo: str, narrow: str, work: Callable[[DatabaseTarget], Report]) -> None:
    report = refused(work, DatabaseTarget(url=narrow), MissingRights, "GRANT")
    if report is not None:
        require_sound(report)
        require_no_other_ratio(report, work(DatabaseTarget(url=zoo)))


def test_shares_are_not_said_to_be_of_what_a_role_cannot_see(zoo: str) -> None:
    with narrow_role(zoo) as narrow:
        ask(narrow, "SELECT pg_sleep(0.3)")
        report = analyze(DatabaseTarget(url=narrow), "queries")
    (finding,) = [f for f in report.findings if "pg_sleep" in f.sentence]
    assert "of the time of the statements that this role may see" in finding.sentence
    assert any(f.code == "hidden-queries" and not f.measured for f in report.findings)


def require_no_other_ratio(narrow: Report, whole: Report) -> None:
    """What the narrow role was told agrees with what the superuser was told, or was withheld."""
    truth = ratios_of(whole)
    for key, ratio in ratios_of(narrow).items():
        if key in truth:
            assert ratio == pytest.approx(truth[key], abs=0.06), key


def ratios_of(report: Report) -> dict[tuple[str, str, str], float]:
    """Shares in a report's tables, by table, column and the row's first cell.

    Those of statements change from one look to the next, and are left out.
    """
    return {
        (table.title, column, str(row[0])): cell
        for table in report.tables
        for row in table.rows
        for column, cell in zip(table.columns, row, strict=True)
        if column.endswith("_ratio") and column not in {"share_ratio", "time_ratio"}
        if cell is not None
    }


@pytest.fixture(scope="module")
def empty(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    with a_database(postgres_server) as url:
        yield url


@each
def test_an_empty_database_without_extensions(
    empty: str, work: Callable[[DatabaseTarget], Report]
) -> None:
    require_sound(work(DatabaseTarget(url=empty)))


@pytest.fixture(scope="module")
def never_analyzed(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    with a_database(postgres_server) as url:
        ask(url, "CREATE TABLE dense (id int, body text) WITH (autovacuum_enabled = off)")
        ask(url, "INSERT INTO dense SELECT i, md5(i::text) FROM generate_series(1, 20000) AS i")
        ask(url, "CREATE INDEX dense_body ON dense (body)")
        yield url


@each
def test_tables_that_nobody_analyzed(
    never_analyzed: str, work: Callable[[DatabaseTarget], Report]
) -> None:
    report = work(DatabaseTarget(url=never_analyzed))
    require_sound(report)
    bloat = {key: ratio for key, ratio in ratios_of(report).items() if key[1] == "bloat_ratio"}
    assert all(ratio < 0.05 for ratio in bloat.values()), bloat


@pytest.fixture(scope="module")
def with_policies(postgres_server: EmbeddedPostgres) -> Iterator[tuple[str, str]]:
    """The URLs of a superuser and of an owner, who is exempt from policies that are not forced."""
    with a_database(postgres_server) as url, narrow_role(url, "pg_monitor") as owner:
        ask(url, "GRANT CREATE ON SCHEMA public TO PUBLIC")
        for table in ("enabled", "forced"):
            ask(owner, f"CREATE TABLE {table} (id int, body text)")
            ask(owner, f"ALTER TABLE {table} SET (autovacuum_enabled = off)")
            rows = "SELECT i, md5(i::text) FROM generate_series(1, 20000) AS i"
            ask(owner, f"INSERT INTO {table} {rows}")
            ask(owner, f"CREATE INDEX ON {table} (id)")
            ask(owner, f"DELETE FROM {table} WHERE id % 4 <> 0")
            ask(owner, f"VACUUM ANALYZE {table}")
            ask(owner, f"CREATE POLICY own ON {table} USING (id < 100)")
            ask(owner, f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY")
        ask(owner, "ALTER TABLE forced FORCE ROW LEVEL SECURITY")
        yield url, owner


@each
def test_row_level_security(
    with_policies: tuple[str, str], work: Callable[[DatabaseTarget], Report]
) -> None:
    superuser, owner = with_policies
    report = work(DatabaseTarget(url=owner))
    require_sound(report)
    require_no_other_ratio(report, work(DatabaseTarget(url=superuser)))


@contextmanager
def locked_relations(url: str) -> Iterator[None]:
    """Hold a table and an index exclusively; let somebody wait for one more table."""
    table = f"{postgres_zoo.SCHEMA}.{postgres_zoo.TABLE}"
    with ExitStack() as stack:
        owner, mender, reader, waiting = (stack.enter_context(Client(url)) for _ in range(4))
        owner.run(f"BEGIN; LOCK TABLE {table}")
        mender.run("BEGIN; REINDEX INDEX kinds_gin")
        reader.run("BEGIN; SELECT count(*) FROM heir")
        waiting.start("ALTER TABLE heir ADD COLUMN late int")
        queued = "SELECT EXISTS (SELECT FROM pg_locks WHERE pid = %s AND NOT granted)"
        eventually(lambda: ask(url, queued, waiting.pid)[0][0], 10, "a queue for a lock")
        yield


@each
def test_nothing_waits_for_a_lock(
    impatient: DatabaseTarget,
    zoo: str,
    work: Callable[[DatabaseTarget], Report],
    lock_waits: Callable[[], list[str]],
) -> None:
    with locked_relations(zoo):
        report = work(impatient)
    assert lock_waits() == []
    require_sound(report)
    assert "not-measured" not in {finding.code for finding in report.findings}


class NewerSession(WatchedSession):
    """A server of a version that nobody knows yet."""

    server_version = 990_000


@pytest.mark.since_postgres(18)
@each
def test_a_version_that_nobody_knows_yet_is_taken_for_the_newest_known(
    zoo: str, work: Callable[[DatabaseTarget], Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(connection, "WatchedSession", NewerSession)
        require_sound(work(DatabaseTarget(url=zoo)))


@each
def test_a_session_that_is_ended_in_the_middle(
    zoo: str, work: Callable[[DatabaseTarget], Report], monkeypatch: pytest.MonkeyPatch
) -> None:
    load = sql_files.load_sql
    asked: list[str] = []

    def load_and_end(name: str, version: int) -> str:
        asked.append(name)
        if len(asked) == 2:
            end_sessions_of_ours(zoo)
        return load(name, version)

    monkeypatch.setattr(sql_files, "load_sql", load_and_end)
    report = refused(work, DatabaseTarget(url=zoo), TargetUnavailable, "was lost")
    if report is None:
        return
    require_sound(report)
    if len(asked) > 1:
        assert any("was lost" in finding.sentence for finding in report.findings)


def end_sessions_of_ours(url: str) -> None:
    ask(
        url,
        "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
        " WHERE application_name LIKE %s AND datname = current_database()",
        "maintenance:%",
    )


@pytest.fixture(scope="module")
def standby_url(server_root: Path) -> Iterator[str]:
    """The zoo as a streaming standby shows it."""

    def fill(primary: EmbeddedPostgres) -> None:
        stand_in_for_flush(primary)
        primary.ensure_database("zoo")
        postgres_zoo.fill(primary.url("zoo"))

    with primary_and_standby(server_root / "replicated", fill) as (_, standby):
        yield standby.url("zoo")


@each
def test_a_standby(standby_url: str, work: Callable[[DatabaseTarget], Report]) -> None:
    report = refused(work, DatabaseTarget(url=standby_url), Skipped, "standby")
    if report is not None:
        require_sound(report)


#: What a command may be that is run on a copy of the database: statements of its own session.
RUNNABLE = re.compile(r"(ALTER|ANALYZE|COMMENT|CREATE|DROP|REINDEX|VACUUM)\b")


@pytest.fixture
def copy_of_zoo(postgres_server: EmbeddedPostgres, zoo: str) -> Iterator[str]:
    """The zoo once more, to try commands on."""
    original = ask(zoo, "SELECT current_database()")[0][0]
    name = f"copy_{secrets.token_hex(6)}"
    copied, source = postgres_zoo.quoted(name), postgres_zoo.quoted(original)
    ask(postgres_server.url(), f"CREATE DATABASE {copied} TEMPLATE {source}")
    yield postgres_server.url(name)
    ask(postgres_server.url(), f"DROP DATABASE {copied} (FORCE)")


def test_the_advised_commands_and_their_undo_run_with_every_name(
    copy_of_zoo: str, zoo: str
) -> None:
    reports = run_analyses("site", DatabaseTarget(url=zoo), list(ANALYSES), THRESHOLDS)
    advised = [(f.commands, f.undo) for report in reports for f in report.findings if f.commands]
    run = [
        command
        for commands, undo in dict.fromkeys(advised)
        for command in (*commands, *undo)
        if RUNNABLE.match(command)
    ]
    for command in run:
        ask(copy_of_zoo, command)
    assert sum("Odd" in command for command in run) >= 3
