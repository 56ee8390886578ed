"""Runs that are interrupted or put off, and go on where they were, on a real ledger."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from datetime import timedelta
from time import time
from typing import Any

import psycopg2
import pytest
from django.db import connection
from django.utils import timezone
from psycopg2 import sql

from maintenance.core.errors import Cancelled, LostLease, Postponed, Skipped, TargetUnavailable
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report
from maintenance.core.runs import claims, ledger
from maintenance.core.runs.dispatch import mend
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.ledger import LEASE_SECONDS, Origin
from maintenance.core.runs.registry import TaskSpec
from maintenance.core.runs.steps import LedgerSteps
from maintenance.models import Run, RunState, RunStep, Trigger
from service.embedded.postgres import EmbeddedPostgres
from tests.made_tasks import TaskFactory
from tests.polling import eventually

pytestmark = pytest.mark.django_db(transaction=True)

BY_HAND = Origin(Trigger.CLI, actor="crew")
TABLES = [f"public.table_{number}" for number in range(5)]


def vacuumed(table: str, seconds: float = 0.0) -> Outcome:
    action = Action("vacuum", table, f"VACUUM {table}", "dead tuples")
    return Outcome(action, Verdict.WORKED, duration_seconds=seconds, after={"dead_tuples": 0})


def queued(spec: TaskSpec) -> Run:
    return ledger.create_run(spec, "", {}, BY_HAND)


@pytest.fixture
def run(task_that: TaskFactory) -> Run:
    """A run that this process holds."""

    def vacuum_tables(_job: Any) -> Report:
        raise AssertionError

    spec = task_that(vacuum_tables)
    return claims.claim(queued(spec).id, spec, "", {}, "one@host")


@pytest.fixture
def steps(run: Run) -> Iterator[LedgerSteps]:
    store = LedgerSteps(run, LEASE_SECONDS)
    yield store
    with suppress(LostLease):
        store.close()


def stored() -> list[str]:
    return list(RunStep.objects.order_by("id").values_list("key", flat=True))


# --- The store ---


def test_a_step_that_took_long_is_stored_at_once(steps: LedgerSteps, monkeypatch: Any) -> None:
    monkeypatch.setattr("maintenance.core.runs.steps.WRITE_SECONDS", 60.0)
    steps.record("first", vacuumed("first"))
    eventually(lambda: stored() == ["first"], 5, "the writer has begun")

    steps.record("short", vacuumed("short"))
    assert stored() == ["first"], "it waits for others"
    steps.record("long", vacuumed("long", seconds=0.5))

    eventually(lambda: stored() == ["first", "short", "long"], 5, "all are stored")


def test_short_steps_are_stored_together_a_moment_later(steps: LedgerSteps) -> None:
    for table in TABLES:
        steps.record(table, vacuumed(table))

    eventually(lambda: sorted(stored()) == TABLES, 5, "all are stored")
    assert RunStep.objects.values("recorded_at").distinct().count() <= 2


def test_a_step_done_again_has_its_last_outcome(steps: LedgerSteps) -> None:
    steps.record("t", vacuumed("t", seconds=0.1))
    steps.record("t", vacuumed("t", seconds=0.2))
    steps.close()

    assert [row.outcome["duration_seconds"] for row in RunStep.objects.all()] == [0.2]


def test_no_thread_of_a_pool_opens_a_connection_to_the_ledger(steps: LedgerSteps) -> None:
    opened: list[bool] = []

    def work(table: str) -> None:
        steps.record(table, vacuumed(table, seconds=1.0))
        opened.append(connection.connection is not None)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(work, TABLES * 20))
    steps.close()

    assert sorted(stored()) == TABLES
    assert opened == [False] * 100


def test_passwords_do_not_reach_the_ledger(steps: LedgerSteps) -> None:
    action = Action("set", "role", "ALTER ROLE crew PASSWORD 'hunter2'", "asked for")
    steps.record("role", Outcome(action, Verdict.WORKED, after={"token": "hunter2"}))
    steps.close()

    assert "hunter2" not in str(RunStep.objects.values_list("outcome", flat=True)[0])


def test_an_outcome_that_json_cannot_hold_is_refused_by_name(steps: LedgerSteps) -> None:
    odd = Outcome(vacuumed("t").action, Verdict.WORKED, after={"handle": object()})

    with pytest.raises(TypeError, match='under "handle"'):
        steps.record("t", odd)


def test_an_attempt_that_lost_its_run_stores_nothing_and_is_told(
    run: Run, steps: LedgerSteps
) -> None:
    Run.objects.filter(id=run.id).update(attempt=2)
    steps.record("t", vacuumed("t"))

    def is_told() -> bool:
        try:
            steps.record("u", vacuumed("u"))
        except LostLease:
            return True
        return False

    eventually(is_told, 5, "a later step says that the run is lost")
    assert stored() == []
    with pytest.raises(LostLease):
        steps.close()


@contextmanager
def ledger_away(server: EmbeddedPostgres) -> Iterator[None]:
    """End every session of the ledger, and let none begin."""
    name = connection.settings_dict["NAME"]
    connection.close()
    allow = sql.SQL("ALTER DATABASE {} ALLOW_CONNECTIONS {}")
    with closing(psycopg2.connect(server.url())) as admin:
        admin.autocommit = True
        with admin.cursor() as cursor:
            cursor.execute(allow.format(sql.Identifier(name), sql.Literal(False)))
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name]
            )
            try:
                yield
            finally:
                cursor.execute(allow.format(sql.Identifier(name), sql.Literal(True)))


def test_an_outage_of_the_ledger_costs_no_step(
    steps: LedgerSteps, postgres_server: EmbeddedPostgres, caplog: pytest.LogCaptureFixture
) -> None:
    steps.record("before", vacuumed("before", seconds=1.0))
    eventually(lambda: stored() == ["before"], 5, "the first is stored")

    with ledger_away(postgres_server):
        steps.record("meanwhile", vacuumed("meanwhile", seconds=1.0))
        eventually(lambda: "could not be stored yet" in caplog.text, 5, "the outage is noticed")
        steps.record("still", vacuumed("still", seconds=1.0))

    eventually(lambda: stored() == ["before", "meanwhile", "still"], 10, "all are stored")


def test_an_outage_that_outlives_the_patience_ends_the_work(
    run: Run, postgres_server: EmbeddedPostgres
) -> None:
    steps = LedgerSteps(run, patience_seconds=0.2)

    def has_enough() -> bool:
        try:
            steps.record("t", vacuumed("t", seconds=1.0))
        except Exception as error:  # noqa: BLE001 - judged by its name
            return type(error).__name__ == "OperationalError"
        return False

    with ledger_away(postgres_server):
        eventually(has_enough, 10, "a step is refused")
    steps.close()
    assert stored() == ["t"]


# --- Runs ---


@pytest.mark.parametrize(
    "end", [TargetUnavailable("down"), Cancelled("stop"), Skipped("no"), ValueError("broken")]
)
def test_what_was_done_is_stored_however_the_attempt_ends(
    task_that: TaskFactory, end: Exception, monkeypatch: Any
) -> None:
    seen: list[list[str]] = []
    finish = ledger.finish

    def look_and_finish(*args: Any, **kwargs: Any) -> Any:
        seen.append(stored())
        return finish(*args, **kwargs)

    def work(job: Any) -> Report:
        job.steps.record("t", vacuumed("public.t"))
        raise end

    monkeypatch.setattr(ledger, "finish", look_and_finish)
    spec = task_that(work)
    monkeypatch.setattr(type(spec.retry), "delay_seconds", lambda *_: 0.0)
    run = work_here(queued(spec))

    assert run.is_finished
    assert seen == [["t"]]
    outcomes = ledger.stored_document(run).report.outcomes
    assert [outcome.action.subject for outcome in outcomes] == ["public.t"]
    assert stored() == [], "the report has them now"


def test_a_second_attempt_sees_what_the_first_one_did_and_goes_on(task_that: TaskFactory) -> None:
    done_by_attempt: list[list[str]] = []

    def vacuum_all(job: Any) -> Report:
        done = dict(job.steps.done())
        done_by_attempt.append(list(done))
        for table in TABLES:
            if table in done:
                continue
            if table == TABLES[3] and len(done_by_attempt) == 1:
                raise TargetUnavailable("The server is down.")
            job.steps.record(table, vacuumed(table))
            done[table] = vacuumed(table)
        return Report("Vacuum", f"{len(done)} tables.", outcomes=tuple(done.values()))

    run = work_here(queued(task_that(vacuum_all)))

    assert (run.state, run.attempt) == (RunState.SUCCEEDED, 2)
    assert done_by_attempt == [[], TABLES[:3]]
    assert run.summary == "5 tables."
    assert len(ledger.stored_document(run).report.outcomes) == 5


def test_a_run_whose_process_died_goes_on_elsewhere_and_has_its_number(
    task_that: TaskFactory,
) -> None:
    ids: list[str] = []

    def vacuum_rest(job: Any) -> Report:
        ids.append(job.run_id)
        return Report("Vacuum", ", ".join(job.steps.done()))

    spec = task_that(vacuum_rest)
    run = claims.claim(queued(spec).id, spec, "", {}, "gone@host")
    gone = LedgerSteps(run, LEASE_SECONDS)
    gone.record("public.a", vacuumed("public.a", seconds=1.0))
    eventually(lambda: stored() == ["public.a"], 5, "the step is stored before the death")
    long_ago = timezone.now() - timedelta(seconds=LEASE_SECONDS + 1)
    Run.objects.filter(id=run.id).update(heartbeat_at=long_ago)

    assert mend()["lost"] == 1
    run = work_here(run)

    assert (run.state, run.attempt, run.summary) == (RunState.SUCCEEDED, 2, "public.a")
    assert ids == [run.id.hex]
    gone.close()


# --- Putting off ---


def test_a_run_that_is_put_off_waits_with_its_reason_and_keeps_its_steps(
    task_that: TaskFactory,
) -> None:
    until = time() + 7200

    def put_off(job: Any) -> Report:
        if job.steps.done():
            return Report("Done", "Done in the second window.")
        job.steps.record("t", vacuumed("t"))
        raise Postponed("The window closes; password=hunter2 waits.", until)

    spec = task_that(put_off)
    run = work_here(queued(spec))

    assert (run.state, run.failures, run.worker) == (RunState.QUEUED, [], run.worker)
    assert run.is_postponed
    assert run.waits_for_long
    assert run.reason == "The window closes; password=*** waits."
    assert run.available_at is not None
    assert abs(run.available_at.timestamp() - until) < 1
    assert run.published_at is None, "no message is held by a worker: it is sent when due"
    assert stored() == ["t"]
    assert ledger.runs_without_a_message(10, 600) == []
    later = timezone.now() + timedelta(seconds=7300)
    assert ledger.runs_without_a_message(10, 600, later) == [run]

    Run.objects.filter(id=run.id).update(available_at=timezone.now())
    run = work_here(run)
    assert (run.state, run.reason, run.summary) == (
        RunState.SUCCEEDED,
        "",
        "Done in the second window.",
    )


def test_waiting_is_no_failure_and_takes_no_retry_away(
    task_that: TaskFactory, monkeypatch: Any
) -> None:
    monkeypatch.setattr("maintenance.core.runs.runner.SHORTEST_POSTPONEMENT_SECONDS", 0.01)
    attempts: list[int] = []

    def wait_then_break(_job: Any) -> Report:
        attempts.append(len(attempts))
        if len(attempts) <= 6:
            raise Postponed("Too busy.", time())
        raise TargetUnavailable("The server is down.")

    spec = task_that(wait_then_break)
    monkeypatch.setattr(type(spec.retry), "delay_seconds", lambda *_: 0.0)
    run = work_here(queued(spec))

    assert run.state == RunState.FAILED
    assert len(run.failures) == spec.retry.max_attempts
    assert len(attempts) == 6 + spec.retry.max_attempts
    assert run.summary.startswith(f"Failed after {spec.retry.max_attempts} attempts: ")


def test_a_run_that_was_put_off_is_cancelled_at_once_and_reports_what_it_did(
    task_that: TaskFactory,
) -> None:
    def put_off(job: Any) -> Report:
        job.steps.record("t", vacuumed("public.t"))
        raise Postponed("The window closes.", time() + 7200)

    run = work_here(queued(task_that(put_off)))

    document = ledger.request_cancel(run, "crew")

    assert document is not None
    assert [outcome.action.subject for outcome in document.report.outcomes] == ["public.t"]
    run.refresh_from_db()
    assert run.state == RunState.CANCELLED


@pytest.mark.parametrize(
    "end", [Postponed("The window closes.", time() + 7200), TargetUnavailable("down")]
)
def test_a_run_that_was_asked_to_stop_neither_waits_nor_is_tried_again(
    task_that: TaskFactory, end: Exception
) -> None:
    def end_all_the_same(_job: Any) -> Report:
        ledger.request_cancel(Run.objects.get(), "crew")
        raise end

    run = work_here(queued(task_that(end_all_the_same)))

    assert (run.state, run.attempt) == (RunState.CANCELLED, 1)
    assert run.reason == "Cancelled by crew while it was at work."


def test_the_writer_ends_with_its_attempt(task_that: TaskFactory) -> None:
    def work(job: Any) -> Report:
        job.steps.record("t", vacuumed("t"))
        return Report("T", "S.", outcomes=tuple(job.steps.done().values()))

    run = work_here(queued(task_that(work)))

    assert not [t for t in threading.enumerate() if t.name == f"steps-{run.id}"]
