"""The hold of an attempt on its run: when it is trusted, when the row is asked, and what ends it."""

import threading
import time
from collections.abc import Callable
from typing import Any

import psycopg2
import pytest
from django.db import connection
from django.utils import timezone

from maintenance.core.errors import Cancelled, LeaseUnknown, LostLease
from maintenance.core.reports import Report
from maintenance.core.runs import claims, ledger
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.lease import LAST_START_RATIO, TRUSTED_RATIO, Lease, steady_seconds
from maintenance.core.runs.ledger import LEASE_SECONDS, Origin
from maintenance.core.runs.registry import TargetKind, task_named
from maintenance.models import Run, RunState, Trigger
from maintenance.postgres.connection import connect
from tests.made_tasks import TaskFactory
from tests.polling import eventually
from tests.postgres_clients import ask

pytestmark = pytest.mark.django_db(transaction=True)

BY_HAND = Origin(Trigger.CLI, actor="crew")


@pytest.fixture
def run() -> Run:
    spec = task_named("note_low")
    run = ledger.create_run(spec, "", {}, BY_HAND)
    return claims.claim(run.id, spec, "", {}, "one@host")


def taken_over(run: Run) -> None:
    Run.objects.filter(id=run.id).update(attempt=run.attempt + 1)


def aged(run: Run, ratio: float) -> Lease:
    """A lease that was last confirmed so much of its length ago."""
    return Lease(run, steady_seconds() - LEASE_SECONDS * ratio)


def test_a_young_lease_is_trusted_and_costs_no_query(
    run: Run, django_assert_num_queries: Callable[[int], Any]
) -> None:
    lease = aged(run, TRUSTED_RATIO - 0.05)
    taken_over(run)

    with django_assert_num_queries(0):
        lease.check()


def test_an_old_lease_asks_the_row_and_renews_it(run: Run) -> None:
    lease = aged(run, TRUSTED_RATIO + 0.05)
    before = Run.objects.get(id=run.id).heartbeat_at

    lease.check()

    assert lease.age_seconds < 5
    assert Run.objects.get(id=run.id).heartbeat_at > before


def test_an_old_lease_of_a_run_that_was_taken_over_is_lost_for_good(run: Run) -> None:
    lease = aged(run, 100)
    taken_over(run)

    with pytest.raises(LostLease):
        lease.check()
    with pytest.raises(LostLease):
        lease.check()
    assert isinstance(lease.stop, LostLease)


def test_a_run_that_is_to_stop_is_known_to_be_ours_before_it_is_said_to_be_cancelled(
    run: Run,
) -> None:
    ledger.request_cancel(run, "crew")
    lease = aged(run, 0)
    lease.look(renew=False)
    with pytest.raises(Cancelled):
        lease.check()

    stale = aged(run, 100)
    stale._stop = Cancelled("Cancelled on request.")
    taken_over(run)
    with pytest.raises(LostLease):
        stale.check()


@pytest.mark.parametrize(("ratio", "goes_on"), [(LAST_START_RATIO - 0.05, True), (1.0, False)])
def test_while_the_ledger_is_away_work_begins_for_two_thirds_of_the_lease(
    run: Run, ratio: float, goes_on: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    lease = aged(run, ratio)
    connection.close()
    monkeypatch.setitem(connection.settings_dict, "PORT", "1")

    if goes_on:
        lease.check()
    else:
        with pytest.raises(LeaseUnknown, match="The ledger is away"):
            lease.check()
    connection.close()


@pytest.mark.parametrize("is_lost", [False, True])
def test_a_thread_of_the_work_waits_for_the_renewal_and_asks_nothing_itself(
    run: Run, is_lost: bool
) -> None:
    lease = aged(run, 100)
    if is_lost:
        taken_over(run)
    ended: list[Exception | None] = []

    def check() -> None:
        try:
            lease.check()
        except LostLease as lost:
            ended.append(lost)
        else:
            ended.append(None)
        assert connection.connection is None

    thread = threading.Thread(target=check)
    thread.start()
    lease.look(renew=True)
    thread.join(10)

    assert [isinstance(end, LostLease) for end in ended] == [is_lost]


# --- Ending what a run has at work ---


def sleeping(job: Any) -> Report:
    """Wait for one long statement."""
    with connect(job.target) as conn, conn.cursor() as cursor:
        cursor.execute("SELECT pg_catalog.pg_sleep(60)")
    return Report("Slept", "Slept.")


def stubborn(job: Any) -> Report:
    """Take each cancelled statement for a slow one, and begin the next."""
    with connect(job.target) as conn, conn.cursor() as cursor:
        for _ in range(20):
            try:
                cursor.execute("SELECT pg_catalog.pg_sleep(60)")
            except psycopg2.errors.QueryCanceled:
                continue
    return Report("Slept", "Slept.")


def forgiving(job: Any) -> Report:
    """Take the cancelled statement for a slow one, and end as if all were well."""
    try:
        return sleeping(job)
    except psycopg2.errors.QueryCanceled:
        return Report("Slept", "One measurement took too long.")


@pytest.mark.parametrize("work", [sleeping, stubborn, forgiving])
def test_a_cancelled_run_ends_in_mid_statement_within_five_seconds(
    task_that: TaskFactory, work: Callable[[Any], Report]
) -> None:
    spec = task_that(work, target_kind=TargetKind.DATABASE)
    run = ledger.create_run(spec, "default", {}, BY_HAND)
    thread = threading.Thread(target=lambda: (work_here(run), connection.close()))
    thread.start()
    settings = connection.settings_dict
    url = "postgres://{USER}:{PASSWORD}@{HOST}:{PORT}/{NAME}".format(**settings)
    at_work = (
        "SELECT application_name FROM pg_stat_activity"
        " WHERE query LIKE '%%pg_sleep(60)%%' AND pid <> pg_backend_pid()"
    )
    eventually(lambda: ask(url, at_work) != [], 30, "the statement is at work")
    assert ask(url, at_work) == [(f"maintenance:measure:{run.id.hex}:1",)]

    asked_at = time.monotonic()
    ledger.request_cancel(run, "crew")
    eventually(lambda: ask(url, at_work) == [], 10, "the end of the statement")
    took = time.monotonic() - asked_at
    thread.join(20)

    assert took < 5
    run.refresh_from_db()
    assert (run.state, run.reason) == (
        RunState.CANCELLED,
        "Cancelled by crew while it was at work.",
    )


def test_a_writing_run_ends_what_lost_runs_left_on_its_target_and_says_so(
    task_that: TaskFactory, django_db_blocker: Any
) -> None:
    from maintenance.conf import configuration
    from maintenance.core.run_marks import RunMark, marked

    def write(_job: Any) -> Report:
        return Report("Written", "Written.")

    spec = task_that(write, target_kind=TargetKind.DATABASE, writes=True)
    ended, ours = (ledger.create_run(spec, "default", {}, BY_HAND) for _ in range(2))
    Run.objects.filter(id=ended.id).update(state=RunState.FAILED, finished_at=timezone.now())
    target = configuration().database("default")
    with marked(RunMark(ended.id.hex, 3)):
        left = connect(target, purpose="vacuum")
        conn = left.__enter__()
    with marked(RunMark("ab" * 16, 1)), connect(target, purpose="strangers") as stranger:
        run = work_here(ours)
        with stranger.cursor() as cursor:
            cursor.execute("SELECT 1")

    assert run.state == RunState.SUCCEEDED
    (finding,) = ledger.stored_document(run).report.findings
    assert finding.code == "expired-sessions-ended"
    assert finding.evidence["sessions"] == [f"maintenance:vacuum:{ended.id.hex}:3"]
    with pytest.raises(psycopg2.OperationalError), conn.cursor() as cursor:
        cursor.execute("SELECT 1")
    conn.close()
