"""Rebuilds whose worker or server goes away in the middle: nothing is left, and the work gets done."""

import secrets
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, time, timedelta
from pathlib import Path
from time import monotonic
from typing import Any
from urllib.parse import urlsplit

import pytest
from django.db import connection

from maintenance.conf import DatabaseTarget, Pacing, Thresholds
from maintenance.core.errors import TargetUnavailable
from maintenance.core.job import Job
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report
from maintenance.core.runs.dispatch import mend, start_run
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.ledger import Origin, create_run, request_cancel
from maintenance.core.runs.registry import task_named
from maintenance.models import Run, RunState, StoredReport, Trigger
from maintenance.postgres.reindex.options import ReindexOptions
from maintenance.postgres.reindex.run import reindex_bloated_indexes
from service.embedded.account import server_account
from service.embedded.postgres import EmbeddedPostgres
from tests.acceptance.test_checklists_run import finished
from tests.celery_nodes import WorkerFactory
from tests.faults.test_runs_survive import let_the_lease_expire
from tests.integration.test_postgres_reindex import AT_WORK, invalid, oid, plant_slow
from tests.polling import eventually
from tests.postgres_clients import Client, ask
from tests.relay import Relay
from tests.servers import FAST_POSTGRES, stand_in_for_flush
from tests.small_disks import small_tablespace
from tests.vanishing_address import ADDRESS, let_in, may_change_addresses, vanishing_address

BY_HAND = Origin(Trigger.CLI, actor="tester")
ALL_OF_OURS = (
    "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'maintenance:%%'"
    " AND datname = current_database()"
)
OURS = "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'maintenance:reindex:%%'"


@pytest.fixture
def site(testapp_environment: dict[str, str]) -> Iterator[str]:
    """The embedding project's database with a slow index; its workers may rebuild it."""
    testapp_environment["TESTAPP_ALLOW"] = "reindex"
    given = {
        name: testapp_environment[f"TESTAPP_DB_{name}"]
        for name in ("USER", "PASSWORD", "HOST", "PORT", "NAME")
    }
    url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**given)
    plant_slow(url)
    yield url
    ask(url, "DROP TABLE t")
    ask(url, "DROP FUNCTION slowly")


@pytest.mark.django_db(transaction=True)
def test_a_worker_killed_in_mid_rebuild_leaves_nothing_and_another_does_the_work(
    site: str, make_worker: WorkerFactory
) -> None:
    before = oid(site)
    victim = make_worker("low", name="victim")
    task = task_named("reindex_bloated_indexes")
    run = start_run(task, "default", {"indexes": ["t_n"]}, BY_HAND)
    eventually(lambda: bool(ask(site, AT_WORK)), 60, "the rebuild is at work")

    victim.kill()

    eventually(lambda: ask(site, OURS) == [], 5, "the server has dropped the session")
    assert invalid(site) == ["t_n_ccnew"]
    let_the_lease_expire(run)
    assert mend()["lost"] == 1
    make_worker("low", name="heir")
    assert finished(run, 60).state == RunState.SUCCEEDED, run.reason
    assert run.attempt == 2
    assert invalid(site) == []
    assert oid(site) != before
    outcomes = StoredReport.objects.get(run=run).body["outcomes"]
    verdicts = {(o["kind"], o["verdict"]) for o in outcomes}
    assert ("drop leftover", "worked") in verdicts
    assert {kind for kind, verdict in verdicts} == {"drop leftover", "reindex", "analyze"}
    assert not {verdict for _, verdict in verdicts} & {"failed", "blocked", "refused"}


@pytest.mark.django_db(transaction=True)
def test_what_a_cancelled_run_leaves_is_dropped_by_the_runs_that_follow_outside_of_windows(
    site: str, settings: Any
) -> None:
    closed = {"start": time(1), "end": time(2), "days": [_day_after_tomorrow()]}
    settings.MAINTENANCE = {
        "databases": {
            "default": {
                "alias": "default",
                "allow": ["reindex"],
                "windows": [closed],
                "pacing": {"added_latency_ms": 10_000},
            }
        }
    }
    task = task_named("reindex_bloated_indexes")
    run = create_run(task, "default", {"indexes": ["t_n"]}, BY_HAND)
    with Client(site, "forgetful") as reader:

        def cancel() -> None:
            eventually(lambda: bool(ask(site, AT_WORK)), 30, "the rebuild is at work")
            reader.run("BEGIN; SELECT count(*) FROM t")
            request_cancel(run, "ann")
            connection.close()

        with ThreadPoolExecutor(1) as pool:
            cancelling = pool.submit(cancel)
            assert work_here(run).state == RunState.CANCELLED
            cancelling.result()
        named_by = [run, follow_up_of_all()]
        assert work_here(named_by[1]).state == RunState.SUCCEEDED, named_by[1].reason
        for told in named_by:
            findings = StoredReport.objects.get(run=told).body["findings"]
            [left] = [f for f in findings if f["code"] == "reindex-leftover"]
            assert "application forgetful" in left["sentence"]

    last = follow_up_of_all()
    assert work_here(last).state == RunState.SUCCEEDED
    assert invalid(site) == []
    assert not Run.objects.filter(state=RunState.QUEUED).exists()


def _day_after_tomorrow() -> str:
    return f"{datetime.now(UTC) + timedelta(days=2):%A}".lower()


def follow_up_of_all() -> Run:
    """Return the one run that waits, whose time has come."""
    run = Run.objects.get(state=RunState.QUEUED)
    assert (run.trigger, run.options) == (Trigger.FOLLOW_UP, {"leftovers_only": True})
    Run.objects.filter(id=run.id).update(available_at=None)
    return run


def test_a_server_restarted_in_mid_rebuild_is_cleaned_by_the_next_run(server_root: Path) -> None:
    folder, password = server_root / "restarted", secrets.token_hex(16)
    failures: list[Exception] = []
    with EmbeddedPostgres(folder, password, settings=FAST_POSTGRES) as server:
        stand_in_for_flush(server)
        url = server.url()
        plant_slow(url)

        def work() -> None:
            try:
                rebuild(url)
            except TargetUnavailable as error:
                failures.append(error)

        rebuilding = threading.Thread(target=work)
        rebuilding.start()
        eventually(lambda: bool(ask(url, AT_WORK)), 30, "the rebuild is at work")
    rebuilding.join()
    assert len(failures) == 1

    with EmbeddedPostgres(folder, password, settings=FAST_POSTGRES) as server:
        url = server.url()
        assert invalid(url) == ["t_n_ccnew"]
        report = rebuild(url)
        assert invalid(url) == []
    assert Verdict.FAILED not in {outcome.verdict for outcome in report.outcomes}
    assert [o.action.kind for o in report.outcomes] == ["drop leftover", "reindex", "analyze"]


def cut_off(url: str, relay: Relay, cut: Callable[[], None]) -> None:
    """``cut`` the connection of a rebuild at work: its sessions end, and the next one does the work."""
    ended: list[Report | Exception] = []

    def work() -> None:
        try:
            ended.append(rebuild(url.replace(f":{urlsplit(url).port}/", f":{relay.port}/")))
        except TargetUnavailable as error:
            ended.append(error)

    rebuilding = threading.Thread(target=work)
    rebuilding.start()
    try:
        eventually(lambda: bool(ask(url, AT_WORK)), 30, "the rebuild is at work")
        cut()
        cut_at = monotonic()
        eventually(lambda: ask(url, ALL_OF_OURS) == [], 20, "the end of our sessions")
        assert monotonic() - cut_at < 5
    finally:
        relay.cut()
        rebuilding.join(60)
    assert [type(one) for one in ended] == [TargetUnavailable]
    assert str(relay.port) in str(ended[0])
    assert invalid(url) == ["t_n_ccnew"]

    report = rebuild(url)

    assert [o.action.kind for o in report.outcomes] == ["drop leftover", "reindex", "analyze"]
    assert {o.verdict for o in report.outcomes} <= {Verdict.WORKED, Verdict.NO_GAIN}
    assert invalid(url) == []


def test_a_connection_cut_in_mid_rebuild_leaves_no_session_and_the_next_run_does_the_work(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    plant_slow(url)
    relay = Relay(urlsplit(url).port or 0)
    cut_off(url, relay, relay.cut)


@pytest.mark.skipif(not may_change_addresses(), reason="needs root to take an address away")
def test_a_cut_in_mid_rebuild_that_nobody_is_told_of_ends_its_sessions_as_soon(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    plant_slow(url, rows=300)  # at work for longer than the server takes to notice
    let_in(url)
    with vanishing_address() as vanish:
        cut_off(url, Relay(urlsplit(url).port or 0, ADDRESS), vanish)


@pytest.mark.skipif(server_account() is None, reason="needs root to mount a small file system")
def test_a_disk_that_fills_up_costs_a_rebuild_and_no_index(
    make_database: Callable[[], str], server_root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = make_database()
    with small_tablespace(url, server_root / f"small-{secrets.token_hex(4)}") as space:
        ask(url, "CREATE TABLE cramped (n text)")
        ask(url, f"CREATE INDEX cramped_n ON cramped (n) TABLESPACE {space}")
        # In no order, so that no page of the index is emptied by the deletion.
        fill = "SELECT md5(i::text) || repeat('x', 60) FROM generate_series(1, 165000) i"
        ask(url, f"INSERT INTO cramped {fill}")
        ask(url, "DELETE FROM cramped WHERE n < '6'")
        ask(url, "VACUUM ANALYZE cramped")

        [outcome] = rebuild(url, "cramped_n").outcomes
        assert outcome.verdict is Verdict.REFUSED
        assert "that are free" in outcome.sentence

        # A disk that nobody can look at, or that fills up meanwhile.
        monkeypatch.setattr("maintenance.postgres.repair.disk._free_bytes", lambda _: None)
        report = rebuild(url, "cramped_n")
        failed = next(o for o in report.outcomes if o.action.kind == "reindex")
        assert failed.verdict is Verdict.FAILED
        assert "No space left on device" in failed.sentence
        assert invalid(url) == []
        eventually(lambda: ask(url, OURS) == [], 5, "the end of our sessions")

        ask(url, "DELETE FROM cramped WHERE n > '7'")
        ask(url, "VACUUM cramped")
        again = rebuild(url, "cramped_n")
        assert [o.sentence for o in again.outcomes if o.verdict is not Verdict.WORKED] == []


def rebuild(url: str, index: str = "t_n") -> Report:
    target = DatabaseTarget(url=url, pacing=Pacing(added_latency_ms=10_000))
    return reindex_bloated_indexes(
        Job("site", target, ReindexOptions(indexes=(index,)), run_id=secrets.token_hex(16)),
        Thresholds(),
    )
