"""What happens under a repair: workers killed, servers restarted, sessions ended, disks full."""

import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from django.db import connection as ledger

from maintenance.conf import DatabaseTarget, Pacing, Thresholds
from maintenance.core.errors import TargetUnavailable
from maintenance.core.job import Job, OpenWindow
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.runs.dispatch import mend, start_run
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import task_named
from maintenance.models import RunState, RunStep, Trigger
from maintenance.postgres.rewrite.options import VacuumFullOptions
from maintenance.postgres.rewrite.run import vacuum_full
from maintenance.postgres.vacuum.options import VacuumOptions
from maintenance.postgres.vacuum.run import vacuum_analyze
from service.embedded.account import server_account
from service.embedded.postgres import EmbeddedPostgres
from tests.acceptance.test_checklists_run import finished
from tests.celery_nodes import WorkerFactory
from tests.faults.test_runs_survive import let_the_lease_expire
from tests.polling import eventually
from tests.postgres_clients import Client, ask
from tests.relay import Relay
from tests.servers import FAST_POSTGRES, stand_in_for_flush
from tests.small_disks import small_tablespace
from tests.vanishing_address import ADDRESS, let_in, may_change_addresses, vanishing_address

OURS = (
    "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'maintenance:%%'"
    " AND pid <> pg_backend_pid() AND datname = current_database()"
)
AT_WORK = (
    "SELECT pid FROM pg_stat_progress_vacuum WHERE relid = 'slow'::regclass"
    " AND phase = 'vacuuming indexes'"
)


def make_slow_and_quick_tables(url: str) -> None:
    """Three tables with dead rows; a brake keeps the VACUUM of the last one at work."""
    for name in ("first", "second", "slow"):
        ask(url, f"CREATE TABLE {name} (id int, n int) WITH (autovacuum_enabled = off)")
        ask(url, f"CREATE INDEX {name}_id ON {name} (id)")
        ask(url, f"INSERT INTO {name} SELECT i, i FROM generate_series(1, 5000) i")
        with closing(psycopg2.connect(url)) as session, session, session.cursor() as cursor:
            cursor.execute(f"DELETE FROM {name} WHERE id % 2 = 0")
            cursor.execute("SELECT pg_stat_force_next_flush()")


@contextmanager
def brake(url: str) -> Iterator[Callable[[], None]]:
    """Hold the VACUUM of the slow table in mid-work, until the function that this yields is called.

    A scan that somebody has left in the middle of the index holds its page, which VACUUM waits for
    (PostgreSQL, src/backend/storage/buffer/README: "cleanup lock").
    """
    with Client(url, "brake") as scan:
        scan.run(
            "SET enable_seqscan = off; SET enable_bitmapscan = off; SET enable_indexscan = off"
        )
        scan.run(
            "BEGIN; DECLARE page CURSOR FOR SELECT id FROM slow ORDER BY id; FETCH 1 FROM page"
        )
        yield lambda: scan.run("ROLLBACK")


TABLES = ("first", "second", "slow")


def vacuum_counts(url: str) -> dict[str, int]:
    query = "SELECT relname, vacuum_count FROM pg_stat_user_tables WHERE relname = ANY (%s)"
    return dict(ask(url, query, list(TABLES)))  # type: ignore[arg-type]


class Noted:
    """Steps that outlive an attempt, as the ledger's do."""

    def __init__(self) -> None:
        self._done: dict[str, Outcome] = {}

    def done(self) -> dict[str, Outcome]:
        return dict(self._done)

    def record(self, key: str, outcome: Outcome) -> None:
        self._done[key] = outcome


@pytest.mark.django_db(transaction=True)
def test_a_worker_killed_in_mid_vacuum_leaves_nothing_and_its_heir_goes_on(
    make_worker: WorkerFactory,
) -> None:
    settings = ledger.settings_dict
    url = (
        f"postgres://{settings['USER']}:{settings['PASSWORD']}"
        f"@{settings['HOST']}:{settings['PORT']}/{settings['NAME']}"
    )
    make_slow_and_quick_tables(url)
    try:
        with brake(url) as release:
            victim = make_worker("medium", name="victim")
            options = {"tables": list(TABLES), "jobs": 1}
            origin = Origin(Trigger.CLI, actor="tester")
            run = start_run(task_named("vacuum_analyze"), "default", options, origin)
            eventually(
                lambda: ask(url, AT_WORK) != [], 60, "the VACUUM of the slow table is at work"
            )
            noted = RunStep.objects.filter(run=run)
            eventually(lambda: noted.count() == 2, 30, "the quick tables are noted")

            victim.kill()
            killed_at = time.monotonic()
            eventually(lambda: ask(url, OURS) == [], 5, "the end of our sessions")
            assert time.monotonic() - killed_at < 5
            assert vacuum_counts(url)["slow"] == 0
            release()
        let_the_lease_expire(run)
        assert mend()["lost"] == 1
        make_worker("medium", name="heir")

        assert finished(run, 60).state == RunState.SUCCEEDED
        assert run.attempt == 2
        [failure] = run.failures
        assert "stopped responding" in failure["reason"]
        outcomes = {o["subject"]: o for o in run.report.body["outcomes"]}
        for name in TABLES:
            done = outcomes[f"public.{name}"]
            assert done["verdict"] == "worked"
            assert "2,500 dead rows removed" in done["sentence"]
        assert vacuum_counts(url) == dict.fromkeys(TABLES, 1)
    finally:
        ask(url, "DROP TABLE IF EXISTS first, second, slow")


@pytest.fixture(scope="module")
def server(server_root: Path) -> Iterator[EmbeddedPostgres]:
    """A server that may be restarted."""
    with EmbeddedPostgres(
        server_root / "repaired", secrets.token_hex(16), settings=FAST_POSTGRES
    ) as server:
        stand_in_for_flush(server)
        yield server


@pytest.fixture
def url(server: EmbeddedPostgres) -> Iterator[str]:
    name = f"repaired_{secrets.token_hex(4)}"
    server.ensure_database(name)
    make_slow_and_quick_tables(server.url(name))
    yield server.url(name)
    ask(server.url(), f"DROP DATABASE {name} (FORCE)")


def vacuum(url: str, steps: Noted, **settings: Any) -> dict[str, Outcome]:
    """Vacuum the three tables one by one, as one attempt of a run, and return what came of them."""
    target = DatabaseTarget(url=url, jobs=1, **settings)
    job = Job("site", target, VacuumOptions(tables=TABLES), steps=steps, run_id="ab" * 16)
    report = vacuum_analyze(job, Thresholds())
    return {outcome.action.subject: outcome for outcome in report.outcomes}


def in_mid_vacuum(
    url: str,
    steps: Noted,
    disturb: Callable[[], None],
    *,
    through: str = "",
    **settings: Any,
) -> Any:
    """Start a vacuum, ``disturb`` it while the slow table is at work, and return how it ended."""
    ended: list[Any] = []

    def work() -> None:
        try:
            ended.append(vacuum(through or url, steps, **settings))
        except TargetUnavailable as error:
            ended.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    eventually(lambda: ask(url, AT_WORK) != [], 30, "the VACUUM of the slow table is at work")
    disturb()
    thread.join(60)
    assert not thread.is_alive()
    return ended[0]


def assert_all_is_done(outcomes: dict[str, Outcome]) -> None:
    """Each table was vacuumed, in this attempt or before, and the report says what of it."""
    assert {o.verdict for o in outcomes.values()} == {Verdict.WORKED}
    for name in TABLES:
        outcome = outcomes[f"public.{name}"]
        removed = outcome.after["removed_rows"]
        # A try that began under the brake may leave out the page of rows that it holds.
        assert 2_300 < removed <= 2_500
        assert f"{removed:,} dead rows removed" in outcome.sentence


def test_a_server_restarted_in_mid_vacuum_fails_the_attempt_and_the_next_goes_on(
    server: EmbeddedPostgres, url: str
) -> None:
    steps = Noted()

    def restart() -> None:
        eventually(lambda: len(steps.done()) == 2, 20, "the quick tables are noted")
        server.stop()

    with brake(url):
        error = in_mid_vacuum(url, steps, restart)
    server.start()

    assert isinstance(error, TargetUnavailable)
    url = server.url(url.rpartition("/")[2])
    eventually(lambda: ask(url, OURS) == [], 5, "the end of our sessions")
    before = vacuum_counts(url)
    assert_all_is_done(vacuum(url, steps))
    after = vacuum_counts(url)
    assert (after["first"], after["second"]) == (before["first"], before["second"])
    assert after["slow"] == before["slow"] + 1


def test_a_backend_ended_in_mid_vacuum_is_not_begun_again_by_itself(url: str) -> None:
    with brake(url):
        outcomes = in_mid_vacuum(
            url,
            Noted(),
            lambda: ask(url, f"SELECT pg_terminate_backend(pid) FROM ({AT_WORK}) AS a"),
        )

    slow = outcomes.pop("public.slow")
    assert slow.verdict is Verdict.FAILED
    assert slow.sentence.startswith("somebody ended its session (terminating connection")
    assert {o.verdict for o in outcomes.values()} == {Verdict.WORKED}
    eventually(lambda: ask(url, OURS) == [], 5, "the end of our sessions")
    assert vacuum_counts(url) == {"first": 1, "second": 1, "slow": 0}


def test_a_cut_connection_leaves_no_session_and_the_next_attempt_goes_on(
    server: EmbeddedPostgres, url: str
) -> None:
    relay, steps = Relay(server.port), Noted()
    through = url.replace(f":{server.port}/", f":{relay.port}/")

    def cut() -> None:
        eventually(lambda: len(steps.done()) == 2, 20, "the quick tables are noted")
        relay.cut()

    with brake(url):
        error = in_mid_vacuum(url, steps, cut, through=through)
        eventually(lambda: ask(url, OURS) == [], 5, "the end of our sessions")

    assert isinstance(error, TargetUnavailable)
    assert str(relay.port) in str(error)
    assert_all_is_done(vacuum(url, steps))


@pytest.mark.skipif(not may_change_addresses(), reason="needs root to take an address away")
def test_a_cut_that_nobody_is_told_of_leaves_no_session_for_longer_than_five_seconds(
    server: EmbeddedPostgres, url: str
) -> None:
    let_in(url)
    relay, steps = Relay(server.port, ADDRESS), Noted()
    through = url.replace(f":{server.port}/", f":{relay.port}/")
    with brake(url), vanishing_address() as vanish:

        def cut() -> None:
            eventually(lambda: len(steps.done()) == 2, 20, "the quick tables are noted")
            try:
                vanish()
                vanished_at = time.monotonic()
                eventually(lambda: ask(url, OURS) == [], 20, "the end of our sessions")
                assert time.monotonic() - vanished_at < 5
            finally:
                relay.cut()  # or our own side would wait for its own limit

        error = in_mid_vacuum(url, steps, cut, through=through)

    assert isinstance(error, TargetUnavailable)
    assert_all_is_done(vacuum(url, steps))


@pytest.mark.skipif(server_account() is None, reason="needs root to mount a small file system")
def test_a_disk_that_fills_up_costs_a_rewrite_and_no_row(
    url: str, server_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with small_tablespace(url, server_root / f"small-{secrets.token_hex(4)}") as space:
        ask(url, f"CREATE TABLE cramped (id int, body text) TABLESPACE {space}")
        ask(url, "INSERT INTO cramped SELECT i, repeat('x', 1000) FROM generate_series(1, 21000) i")
        ask(url, "DELETE FROM cramped WHERE id % 3 = 0")
        ask(url, "VACUUM ANALYZE cramped")
        now = time.time()
        job = Job(
            "site",
            DatabaseTarget(url=url, pacing=Pacing(longest_wait_seconds=1)),
            VacuumFullOptions(tables=("cramped",), lock_limit_seconds=60),
            window=OpenWindow(now + 600, now + 86_400),
        )
        rows = ask(url, "SELECT count(*), sum(id) FROM cramped")

        [outcome] = vacuum_full(job, Thresholds()).outcomes
        assert outcome.verdict is Verdict.REFUSED
        assert "that are free" in outcome.sentence

        # A disk that nobody can look at, or that fills up meanwhile.
        monkeypatch.setattr("maintenance.postgres.repair.disk._free_bytes", lambda _: None)
        [outcome] = vacuum_full(job, Thresholds()).outcomes
        assert outcome.verdict is Verdict.FAILED
        assert "No space left on device" in outcome.sentence
        assert ask(url, "SELECT count(*), sum(id) FROM cramped") == rows
        eventually(lambda: ask(url, OURS) == [], 5, "the end of our sessions")

        ask(url, "DELETE FROM cramped WHERE id > 4000")
        [again] = vacuum_full(job, Thresholds()).outcomes
        assert again.verdict is Verdict.WORKED
