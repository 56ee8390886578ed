"""The doctor's look at databases: what is missing is named with the line that mends it."""

import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import quote, unquote, urlsplit, urlunsplit

import psycopg2.errors
import pytest
from psycopg2 import sql

import maintenance.tasks.postgres  # noqa: F401 - registers the tasks
from maintenance.attach.look import look_at_database
from maintenance.conf import DatabaseTarget, configuration
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job, OpenWindow
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report
from maintenance.core.runs import accepted_targets
from maintenance.core.runs.registry import TargetKind, TaskSpec, task_named
from maintenance.postgres import connection
from maintenance.postgres.connection import connect
from maintenance.postgres.driver import WatchedSession
from maintenance.postgres.readiness.findings import examine, quoted
from maintenance.postgres.readiness.look import look
from maintenance.postgres.readiness.roles import READER, VACUUMER, role_statements
from maintenance.postgres.sql_files import query
from maintenance.schedules import CHECKLISTS
from service.embedded.binaries import locate_postgres
from service.embedded.postgres import EmbeddedPostgres
from tests import postgres_zoo
from tests.postgres_clients import ODD_NAME, Client, ask, major_of, narrow_role
from tests.up_process import ROOT, clean_environment

#: Words of what a task says that it lacks.
RIGHTS = ("GRANT", "ownership", "owner of", "superuser", "pg_monitor", "pg_maintain", "pg_read_all")


def tasks_of(kind: TargetKind) -> list[TaskSpec]:
    """Return the tasks of the checklists on targets of one kind, once each."""
    names = dict.fromkeys(line.task for lines in CHECKLISTS.values() for line in lines)
    return [spec for spec in map(task_named, names) if spec.target_kind is kind]


def login(url: str, role: str) -> str:
    """Give a role a password and return its URL."""
    password = secrets.token_hex(16)
    ask(
        url,
        sql.SQL("ALTER ROLE {} PASSWORD {}").format(sql.Identifier(role), sql.Literal(password)),
    )
    parts = urlsplit(url)
    address = parts.netloc.rpartition("@")[2]
    return urlunsplit(parts._replace(netloc=f"{quote(role, safe='')}:{password}@{address}"))


@contextmanager
def roles(url: str, reader: str, vacuumer: str) -> Iterator[tuple[str, str]]:
    """Make the roles by the very statements that are printed, twice over; yield their URLs."""
    with connect(DatabaseTarget(url=url)) as conn:
        statements = role_statements(conn, reader=reader, vacuumer=vacuumer)
    try:
        for statement in (*statements, *statements):
            ask(url, statement)
        yield login(url, reader), login(url, vacuumer)
    finally:
        for role in map(sql.Identifier, (reader, vacuumer)):
            ask(url, sql.SQL("DROP OWNED BY {}").format(role))
            ask(url, sql.SQL("DROP ROLE {}").format(role))


@pytest.fixture(scope="module")
def site(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """A database with everything in it, whose tables belong to a role of the site's own."""
    name = f"site {secrets.token_hex(6)}"
    postgres_server.ensure_database(name)
    url = postgres_server.url(name)
    owner = sql.Identifier('Site "owner" ' + secrets.token_hex(4))
    ask(url, "CREATE EXTENSION pg_stat_statements")
    postgres_zoo.fill(url)
    ask(url, sql.SQL("CREATE ROLE {}").format(owner))
    ask(
        url, sql.SQL("CREATE TABLE owned AS SELECT n, md5(n::text) FROM generate_series(1, 9000) n")
    )
    ask(url, "DELETE FROM owned WHERE n % 2 = 0")
    ask(url, sql.SQL("ALTER TABLE owned OWNER TO {}").format(owner))
    yield url
    ask(postgres_server.url(), sql.SQL("DROP DATABASE {} (FORCE)").format(sql.Identifier(name)))
    ask(postgres_server.url(), sql.SQL("DROP ROLE {}").format(owner))


@pytest.fixture(scope="module", params=["odd names", "as the command prints them"])
def both(request: pytest.FixtureRequest, site: str) -> Iterator[tuple[str, str]]:
    """The URLs of reader and vacuumer."""
    token = secrets.token_hex(4)
    with (
        roles(site, f"{ODD_NAME[:-10]}{token}r", f"{ODD_NAME[:-10]}{token}v")
        if request.param == "odd names"
        else printed_roles(site)
    ) as urls:
        yield urls


@contextmanager
def printed_roles(url: str) -> Iterator[tuple[str, str]]:
    """Pipe what ``doctor --sql`` prints into psql, as a person does, twice over; yield the roles' URLs."""
    printed = printed_statements(url)
    try:
        for _ in range(2):
            run_by_psql(url, printed)
        yield login(url, READER), login(url, VACUUMER)
    finally:
        for role in (READER, VACUUMER):
            ask(url, f"DROP OWNED BY {role}")
            ask(url, f"DROP ROLE {role}")


def printed_statements(url: str) -> str:
    """Return what the command prints for a database, and nothing on standard error."""
    done = subprocess.run(
        [
            sys.executable,
            "manage.py",
            "maintenance",
            "doctor",
            "--sql",
            "--target",
            "databases.site",
        ],
        cwd=ROOT,
        env=clean_environment(
            DATABASE_URL=url, SITE_DATABASE_URL=url, DJANGO_SETTINGS_MODULE="service.settings"
        ),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def run_by_psql(url: str, statements: str) -> None:
    """Run them by psql, which ends at the first that fails."""
    subprocess.run(
        [locate_postgres().bindir / "psql", "--no-psqlrc", "--set", "ON_ERROR_STOP=1", url],
        input=statements,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )


@pytest.fixture(autouse=True)
def no_accepted_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no ledger here, in which somebody could have accepted a target."""
    monkeypatch.setattr(accepted_targets, "configuration_in_force", configuration)


def findings_at(url: str) -> dict[str, Finding]:
    return {finding.code: finding for finding in examine(look(DatabaseTarget(url=url)))}


def carry_out(url: str, spec: TaskSpec) -> Report:
    return spec.function(
        Job("site", DatabaseTarget(url=url, allow=("reindex",)), spec.options_type())
    )


def lacks(report: Report) -> list[Finding]:
    """Return what a report withholds for want of a right."""
    return [f for f in report.findings if not f.measured and any(w in f.sentence for w in RIGHTS)]


@pytest.mark.parametrize("spec", tasks_of(TargetKind.DATABASE), ids=lambda spec: spec.short_name)
def test_no_task_lacks_a_right_that_the_doctor_does_not_print(
    both: tuple[str, str], spec: TaskSpec
) -> None:
    reader, vacuumer = both
    url = vacuumer if spec.writes else reader
    found = findings_at(url)
    printed = [line for f in found.values() for line in f.commands]
    lacking = lacks(carry_out(url, spec))
    if spec.writes and major_of(url) >= 17:
        assert lacking == []  # pg_maintain is enough, and so it is printed
    for finding in lacking:
        if finding.code == "vacuum-rights" and major_of(url) < 17:
            # What is left belongs to a superuser: that is said, and no line gives the right.
            assert found["right-vacuum-catalogs"].commands == found["right-vacuum"].commands == ()
            assert "belong to a superuser" in found["right-vacuum"].sentence
            continue
        if "DROP INDEX" in finding.sentence or "belong to a superuser" in finding.sentence:
            continue
        assert any(_same_right(line, finding.sentence) for line in printed), (finding, printed)


def _same_right(line: str, sentence: str) -> bool:
    """Whether a printed GRANT gives what a sentence asks for."""
    right = line.removeprefix("GRANT ").partition(" TO ")[0].removeprefix("EXECUTE ON FUNCTION ")
    return right.partition("(")[0] in sentence or (
        "owner" in sentence and '"Site ""owner""' in line
    )


def test_the_printed_roles_have_what_they_are_for_and_nothing_more(
    site: str, both: tuple[str, str]
) -> None:
    reader, vacuumer = map(findings_at, both)
    assert reader["right-monitor"].severity is reader["right-read"].severity is Severity.OK
    assert reader["right-vacuum"].severity is Severity.WARNING
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        ask(both[0], "UPDATE owned SET n = 0")
    if major_of(site) >= 17:
        assert vacuumer["right-vacuum"].severity is Severity.OK
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            ask(both[1], "UPDATE owned SET n = 0")
    ask(both[1], "VACUUM ANALYZE owned")
    assert (
        ask(site, "SELECT n_dead_tup FROM pg_stat_user_tables WHERE relname = 'owned'") is not None
    )


#: What the vacuumer is to do to a table of somebody else's, by task.
ON_A_TABLE: dict[str, dict[str, Any]] = {
    "vacuum_analyze": {"tables": ("worn",)},
    "reindex_bloated_indexes": {"indexes": ("worn_text",)},
    "vacuum_full": {"tables": ("worn",), "lock_limit_seconds": 60},
    "tune_autovacuum": {"tables": ("worn",)},
}


@pytest.fixture
def worn(site: str) -> Iterator[str]:
    """A table of the site's owner that every task has work on."""
    [(owner,)] = ask(site, "SELECT tableowner FROM pg_tables WHERE tablename = 'owned'")
    ask(site, "CREATE TABLE worn (n int, text text)")
    ask(site, "INSERT INTO worn SELECT n, md5(n::text) FROM generate_series(1, 40000) n")
    ask(site, "CREATE INDEX worn_text ON worn (text)")
    ask(site, sql.SQL("ALTER TABLE worn OWNER TO {}").format(sql.Identifier(owner)))
    with Client(site) as client:
        client.run("UPDATE worn SET n = n + 1 WHERE n % 9 = 1")
        client.run("DELETE FROM worn WHERE n % 9 <> 2")
        client.run("SELECT pg_stat_force_next_flush()")
    yield site
    ask(site, "DROP TABLE worn")


@pytest.mark.parametrize("name", ON_A_TABLE)
def test_the_vacuumer_works_on_tables_of_others_where_its_rights_are_said_to_do(
    worn: str, both: tuple[str, str], name: str, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maintenance.postgres.tuning.run.SHORTEST_BEFORE_SECONDS", 0.0)
    settings.MAINTENANCE = {"thresholds": {"autovacuum_large_trigger_rows": 100}}
    if name != "vacuum_analyze":
        ask(worn, "VACUUM (ANALYZE, TRUNCATE false) worn")
    spec, now = task_named(name), time.time()
    target = DatabaseTarget(url=both[1], allow=("reindex", "vacuum_full", "alter_table"))
    job = Job(
        "site",
        target,
        spec.options_type(**ON_A_TABLE[name]),
        window=OpenWindow(now + 3600, now + 86_400),
    )
    [outcome] = [o for o in spec.function(job).outcomes if "worn" in o.action.subject]
    if name == "tune_autovacuum" and major_of(worn) >= 17:
        assert outcome.verdict is Verdict.REFUSED
        assert "needs ownership" in outcome.sentence
    else:
        assert outcome.verdict is Verdict.WORKED, outcome.sentence


def test_the_vacuumer_tries_statistics_targets_where_it_has_the_rights_of_the_owner(
    site: str, both: tuple[str, str]
) -> None:
    [(owner,)] = ask(site, "SELECT tableowner FROM pg_tables WHERE tablename = 'owned'")
    ask(
        site,
        "CREATE TABLE skewed AS SELECT v AS kind"
        " FROM generate_series(1, 20800) v,"
        " LATERAL generate_series(1, CASE WHEN v > 800 THEN 2 WHEN v > 100 THEN 60 ELSE 300 END) n"
        " ORDER BY hashint8(v * 1000 + n)",
    )
    ask(site, "ANALYZE skewed")
    ask(site, sql.SQL("ALTER TABLE skewed OWNER TO {}").format(sql.Identifier(owner)))
    spec = task_named("tune_statistics")
    options = spec.options_type(columns=("skewed.kind",))
    outcomes = spec.function(Job("site", DatabaseTarget(url=both[1]), options)).outcomes
    ask(site, "DROP TABLE skewed")

    if major_of(site) >= 17:
        [refused] = outcomes
        assert refused.verdict is Verdict.REFUSED
        assert f"GRANT {quoted(owner)} TO " in refused.sentence
    else:
        assert [o.verdict for o in outcomes] == [Verdict.WORKED] * 3


def test_each_missing_right_is_mended_by_its_own_line_and_taken_back_by_its_undo(site: str) -> None:
    with narrow_role(site, prefix='Odd "role" ') as url:
        before = findings_at(url)
        wrong = {code for code, f in before.items() if f.severity is Severity.WARNING}
        assert {"right-monitor", "right-read", "right-vacuum"} <= wrong
        lines = [line for code in sorted(wrong) for line in before[code].commands]
        for line in lines:
            ask(site, line)
        after = findings_at(url)
        if major_of(site) >= 17:  # before, tables of the superuser stay his
            assert not [f for f in after.values() if f.severity is Severity.WARNING]
        for code in sorted(wrong):
            for line in before[code].undo:
                ask(site, line)
        again = findings_at(url)
        assert {c for c, f in again.items() if f.severity is Severity.WARNING} == wrong


def test_who_owns_the_database_and_its_tables_lacks_no_right_to_read_and_vacuum_them(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    with narrow_role(url) as own:
        role = sql.Identifier(unquote(urlsplit(own).username or ""))
        ask(url, sql.SQL("GRANT CREATE, USAGE ON SCHEMA public TO {}").format(role))
        ask(own, "CREATE TABLE mine (id serial PRIMARY KEY)")
        assert findings_at(own)["right-read"].severity is Severity.OK
        assert _catalogs(own).severity is Severity.INFO

        name = sql.Identifier(urlsplit(url).path[1:])
        ask(url, sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, role))
        assert _catalogs(own) == findings_at(own)["right-vacuum"]
        assert findings_at(own)["right-vacuum"].severity is Severity.OK
        with narrow_role(url) as other:
            assert findings_at(other)["right-read"].severity is Severity.WARNING
            if major_of(url) < 17:  # whoever owns the database is named, and no superuser
                assert _catalogs(other).commands[0].startswith(f'GRANT "{role.string}" TO ')
        ask(url, sql.SQL("ALTER DATABASE {} OWNER TO CURRENT_USER").format(name))


def _catalogs(url: str) -> Finding:
    """Return what is said of vacuuming the server's own catalogs."""
    found = findings_at(url)
    return found.get("right-vacuum-catalogs") or found["right-vacuum"]


def test_extensions_are_named_with_the_line_that_creates_them(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    found = findings_at(url)
    for name in ("pg_stat_statements", "pgstattuple", "amcheck"):
        assert found[f"extension-{name}"].commands == (f"CREATE EXTENSION {name};",)
        ask(url, found[f"extension-{name}"].commands[0])
    assert not {code for code in findings_at(url) if code.startswith("extension-")}


def test_functions_that_a_role_may_not_call_are_granted_one_by_one(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    ask(url, 'CREATE SCHEMA "Odd s"')
    ask(url, 'CREATE EXTENSION amcheck SCHEMA "Odd s"')
    with narrow_role(url, "pg_monitor", "pg_read_all_data") as narrow:
        (finding,) = [f for f in examine(look(DatabaseTarget(url=narrow))) if "amcheck" in f.code]
        for line in finding.commands:
            ask(url, line)
        assert "functions-amcheck" not in findings_at(narrow)


def test_settings_that_stop_the_counters_are_named(site: str) -> None:
    database = ask(site, "SELECT quote_ident(current_database())")[0][0]
    ask(site, f"ALTER DATABASE {database} SET track_activities = off")
    try:
        found = findings_at(site)["setting-track_activities"]
    finally:
        ask(site, f"ALTER DATABASE {database} RESET track_activities")
    assert found.severity is Severity.WARNING
    assert found.commands[0] == "ALTER SYSTEM SET track_activities = on;"
    assert "superuser" in findings_at(site)


class OlderSession(WatchedSession):
    """A server that is too old."""

    server_version = 130_000


def test_owners_of_tables_are_read_on_every_version(site: str) -> None:
    with connect(DatabaseTarget(url=site)) as conn:
        owners = {row["owner"]: row["is_superuser"] for row in query(conn, "table_owners")}
    assert [name for name, is_superuser in owners.items() if not is_superuser] == [
        name for name in owners if name.startswith('Site "owner" ')
    ]
    assert any(owners.values())


def test_what_a_database_holds_is_seen_by_a_role_without_rights(site: str) -> None:
    with narrow_role(site) as url:
        seen = look_at_database(DatabaseTarget(url=url))
    sizes = [table.size_bytes for table in seen.tables]
    assert sizes == sorted(sizes, reverse=True)
    assert "owned" in {table.name for table in seen.tables}
    assert not {t.schema for t in seen.tables} & {"pg_catalog", "pg_toast", "information_schema"}
    assert "pg_stat_statements" in seen.extensions


def test_a_server_that_is_too_old_is_named(site: str, monkeypatch: pytest.MonkeyPatch) -> None:
    from maintenance.doctor.examination import examinations, examined

    monkeypatch.setattr(connection, "WatchedSession", OlderSession)
    whole = configuration().model_copy(update={"databases": {"site": DatabaseTarget(url=site)}})
    report = examined("databases.site", examinations(whole)["databases.site"])
    assert "is version 13; the oldest supported is 14" in report.summary
