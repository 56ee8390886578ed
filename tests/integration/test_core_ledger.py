"""The run ledger on a real PostgreSQL: who may run what, and who may write how it ended."""

import threading
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.db import IntegrityError, connection
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from maintenance.core.errors import LostLease
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.runs import claims, ledger
from maintenance.core.runs.claims import NotClaimed, Overlap, TooLate, Waits
from maintenance.core.runs.ledger import LEASE_SECONDS, Origin
from maintenance.core.runs.registry import TaskSpec, task_named
from maintenance.models import (
    Run,
    RunState,
    SchedulePolicy,
    StoredFinding,
    StoredReport,
    StoredSample,
    Trigger,
)
from tests.ledger_rows import finished_run

pytestmark = pytest.mark.django_db(transaction=True)

BY_HAND = Origin(Trigger.CLI, actor="crew")
REPORT = Report(
    title="Bloat",
    summary="One table is bloated.",
    findings=(
        Finding("table-bloat", Severity.WARNING, "public.status", "Half of it is free."),
        Finding("table-bloat", Severity.INFO, "public.user", "A tenth of it is free."),
    ),
    tables=(Table.of("Tables", [{"table": "public.status", "bloat_ratio": 0.5}]),),
    samples=(Sample("bloat_ratio", 0.5, "public.status"),),
    state={"seen": 3},
)


@pytest.fixture
def spec() -> TaskSpec:
    return task_named("report_table_bloat")


def queued(spec: TaskSpec, target: str = "default", **changes: Any) -> Run:
    run = ledger.create_run(spec, target, {}, BY_HAND)
    if changes:
        Run.objects.filter(id=run.id).update(**changes)
        run.refresh_from_db()
    return run


def claimed(spec: TaskSpec, run: Run, worker: str = "one@host") -> Run:
    return claims.claim(run.id, spec, run.target, run.options, worker)


def silence(run: Run) -> None:
    """Let the run's heartbeat lie longer ago than the lease lasts."""
    long_ago = timezone.now() - timedelta(seconds=LEASE_SECONDS + 1)
    Run.objects.filter(id=run.id).update(heartbeat_at=long_ago)


def together(count: int, work: Callable[[int], None]) -> None:
    """Call ``work`` in ``count`` threads at the same moment, each with its own connection."""
    barrier = threading.Barrier(count)
    errors: list[BaseException] = []

    def body(number: int) -> None:
        try:
            barrier.wait()
            work(number)
        except BaseException as error:  # noqa: BLE001 - shown below, in the test's own thread
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=body, args=(n,)) for n in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors


# --- One run a slot ---


def test_a_slot_has_one_run_however_often_it_is_recorded(spec: TaskSpec) -> None:
    due = datetime(2026, 11, 23, 3, 30, tzinfo=UTC)
    slot = Origin(Trigger.BEAT, schedule="weekly bloat", scheduled_for=due)
    ledger.create_run(spec, "default", {}, slot)

    with pytest.raises(IntegrityError, match="maintenance_run_one_per_slot"):
        ledger.create_run(spec, "default", {}, slot)

    assert Run.objects.count() == 1
    ledger.create_run(spec, "other", {}, slot)
    assert Run.objects.count() == 2


def test_runs_by_hand_have_no_slot_and_may_be_many(spec: TaskSpec) -> None:
    queued(spec)
    queued(spec)

    assert Run.objects.filter(state=RunState.QUEUED).count() == 2


# --- Claiming ---


def test_a_claim_makes_the_run_running_and_counts_the_attempt(spec: TaskSpec) -> None:
    run = claimed(spec, queued(spec), "one@host")

    stored = Run.objects.get(id=run.id)
    assert (stored.state, stored.attempt, stored.worker) == (RunState.RUNNING, 1, "one@host")
    assert stored.started_at is not None
    assert stored.heartbeat_at == stored.started_at


def test_a_doubled_message_finds_the_run_held(spec: TaskSpec) -> None:
    run = claimed(spec, queued(spec))

    with pytest.raises(NotClaimed, match="running"):
        claimed(spec, run, "two@host")
    assert Run.objects.get(id=run.id).worker == "one@host"


def test_a_late_message_finds_the_run_finished(spec: TaskSpec) -> None:
    run = claimed(spec, queued(spec))
    ledger.finish(run, RunState.SUCCEEDED, REPORT)

    with pytest.raises(NotClaimed, match="succeeded"):
        claimed(spec, run, "two@host")


def test_a_run_is_not_started_before_its_time(spec: TaskSpec) -> None:
    soon = timezone.now() + timedelta(seconds=60)
    run = queued(spec, available_at=soon)

    with pytest.raises(NotClaimed, match="not due before"):
        claimed(spec, run)
    Run.objects.filter(id=run.id).update(available_at=timezone.now())
    assert claimed(spec, run).available_at is None


def test_a_message_of_application_code_gets_its_row_when_it_is_claimed(spec: TaskSpec) -> None:
    run_id = uuid.uuid4()

    claims.claim(run_id, spec, "default", {"limit": 3}, "one@host")

    run = Run.objects.get(id=run_id)
    assert (run.trigger, run.options, run.state) == (Trigger.API, {"limit": 3}, RunState.RUNNING)


def test_of_many_workers_with_one_message_exactly_one_gets_the_run(spec: TaskSpec) -> None:
    run = queued(spec)
    answers: list[str] = []

    def claim(number: int) -> None:
        try:
            claimed(spec, run, f"{number}@host")
        except NotClaimed:
            answers.append("refused")
        else:
            answers.append("claimed")

    together(8, claim)

    assert sorted(answers) == ["claimed"] + ["refused"] * 7
    assert Run.objects.get(id=run.id).attempt == 1


def test_of_many_runs_of_one_task_and_target_exactly_one_works(spec: TaskSpec) -> None:
    runs = [queued(spec) for _ in range(6)]
    answers: list[str] = []

    def claim(number: int) -> None:
        try:
            claimed(spec, runs[number], f"{number}@host")
        except Overlap as overlap:
            answers.append(f"{overlap.run == runs[number]}, behind {overlap.other.id}")
        else:
            answers.append("claimed")

    together(6, claim)

    assert answers.count("claimed") == 1
    working = Run.objects.get(state=RunState.RUNNING)
    assert set(answers) == {"claimed", f"True, behind {working.id}"}
    assert Run.objects.filter(state=RunState.QUEUED, attempt=0).count() == 5


@pytest.mark.parametrize(
    ("settings", "refusal"),
    [
        ({}, Overlap),
        ({"overlap": "allow"}, Waits),
        ({"overlap": "queue"}, Waits),
        ({"misfire": "each"}, Waits),
    ],
)
def test_a_run_whose_schedule_wants_each_to_run_waits_for_its_like(
    spec: TaskSpec, settings: dict[str, str], refusal: type[Exception]
) -> None:
    row = PeriodicTask.objects.create(
        name="s", task=spec.name, interval=IntervalSchedule.objects.create(every=1, period="days")
    )
    SchedulePolicy.objects.create(row=row, **settings)
    claimed(spec, queued(spec))
    second = queued(spec)
    Run.objects.filter(id=second.id).update(schedule="s")

    with pytest.raises(refusal):
        claimed(spec, second)


def test_a_run_that_did_not_start_before_its_deadline_is_refused(spec: TaskSpec) -> None:
    run = queued(spec)
    Run.objects.filter(id=run.id).update(deadline_at=timezone.now() - timedelta(seconds=1))

    with pytest.raises(TooLate):
        claimed(spec, run)


def test_another_target_is_no_overlap(spec: TaskSpec) -> None:
    claimed(spec, queued(spec, "default"))
    claimed(spec, queued(spec, "other"))

    assert Run.objects.filter(state=RunState.RUNNING).count() == 2


# --- Lease and fence ---


def test_a_heartbeat_renews_the_lease_and_stores_progress(spec: TaskSpec) -> None:
    run = claimed(spec, queued(spec))
    silence(run)

    asked = ledger.heartbeat(run, phase="tables", progress_done=3, progress_total=9)

    stored = Run.objects.get(id=run.id)
    assert asked is None
    assert (stored.phase, stored.progress_done, stored.progress_total) == ("tables", 3, 9)
    assert ledger.runs_without_a_worker() == []


def test_a_heartbeat_tells_that_somebody_asked_to_stop(spec: TaskSpec) -> None:
    run = claimed(spec, queued(spec))

    assert ledger.request_cancel(run, "crew") is None
    assert ledger.heartbeat(run) == ledger.who_asked_to_stop(run) == "crew"


def test_a_lease_lasts_until_it_is_silent_for_longer(spec: TaskSpec) -> None:
    run = claimed(spec, queued(spec))
    assert run.heartbeat_at is not None
    just_before = run.heartbeat_at + timedelta(seconds=LEASE_SECONDS - 1)
    just_after = run.heartbeat_at + timedelta(seconds=LEASE_SECONDS + 1)

    assert ledger.runs_without_a_worker(just_before) == []
    assert ledger.runs_without_a_worker(just_after) == [run]


def test_a_silent_run_can_be_claimed_anew_and_its_old_worker_writes_nothing_more(
    spec: TaskSpec,
) -> None:
    old = claimed(spec, queued(spec), "old@host")
    silence(old)
    new = claimed(spec, old, "new@host")

    assert (new.attempt, new.deaths) == (2, 1)
    assert "old@host stopped responding" in new.failures[0]["reason"]
    with pytest.raises(LostLease):
        ledger.heartbeat(old)
    with pytest.raises(LostLease):
        ledger.who_asked_to_stop(old)
    with pytest.raises(LostLease):
        ledger.requeue(old, 0)
    with pytest.raises(LostLease):
        ledger.finish(old, RunState.SUCCEEDED, REPORT)
    assert Run.objects.get(id=new.id).worker == "new@host"
    assert not StoredReport.objects.exists()
    assert not StoredFinding.objects.exists()

    ledger.finish(new, RunState.SUCCEEDED, REPORT)
    assert StoredReport.objects.count() == 1


@pytest.mark.parametrize("changes", [{"deaths": 2}, {"cancel_requested": True}])
def test_a_silent_run_that_is_to_end_is_not_claimed_anew(
    spec: TaskSpec, changes: dict[str, Any]
) -> None:
    run = claimed(spec, queued(spec))
    silence(run)
    Run.objects.filter(id=run.id).update(**changes)

    with pytest.raises(claims.HolderLost):
        claimed(spec, run, "new@host")

    stored = Run.objects.get(id=run.id)
    assert (stored.attempt, stored.worker, stored.failures) == (1, "one@host", [])


# --- The end ---


def test_a_report_is_compared_with_the_last_success_of_the_same_work() -> None:
    day = timedelta(days=1)
    finished_run(age=4 * day, summary="Older.")
    before = finished_run(age=3 * day)
    finished_run(age=2 * day, state=RunState.FAILED)
    preview = finished_run(age=day)
    Run.objects.filter(id=preview.id).update(options={"dry_run": True})
    finished_run(target="elsewhere", age=day)
    newest = finished_run()

    found = ledger.previous_document(newest)

    assert found is not None
    assert found.run.run_id == str(before.id)
    assert ledger.previous_document(Run.objects.get(id=preview.id)) is None


def test_the_end_of_a_run_stores_report_findings_and_samples(spec: TaskSpec) -> None:
    run = claimed(spec, queued(spec))

    document = ledger.finish(run, RunState.SUCCEEDED, REPORT)

    stored = Run.objects.get(id=run.id)
    assert (stored.state, stored.severity) == (RunState.SUCCEEDED, Severity.WARNING)
    assert stored.summary == "One table is bloated."
    assert stored.duration is not None
    assert document.run.state == "succeeded"
    assert ledger.stored_document(stored).to_json() == document.to_json()
    assert document.report.to_json() == REPORT.to_json()
    subjects = StoredFinding.objects.order_by("subject").values_list("subject", "fingerprint")
    assert list(subjects) == [
        (finding.subject, finding.fingerprint("default")) for finding in REPORT.findings
    ]
    assert StoredSample.objects.get().value == 0.5


def test_a_run_ends_once(spec: TaskSpec) -> None:
    run = claimed(spec, queued(spec))
    ledger.finish(run, RunState.SUCCEEDED, REPORT)

    with pytest.raises(LostLease, match="ended by somebody else"):
        ledger.finish(run, RunState.FAILED, REPORT, "late")

    assert Run.objects.get(id=run.id).state == RunState.SUCCEEDED
    assert StoredFinding.objects.count() == 2


def test_nothing_of_an_end_is_kept_where_a_part_of_it_cannot_be_stored(spec: TaskSpec) -> None:
    run = claimed(spec, queued(spec))
    too_long = Finding("c" * 101, Severity.INFO, "x", "A code may have 100 characters.")

    with pytest.raises(Exception, match="too long"):
        ledger.finish(run, RunState.SUCCEEDED, Report("T", "S.", findings=(too_long,)))

    assert Run.objects.get(id=run.id).state == RunState.RUNNING
    assert not StoredReport.objects.exists()


def test_reasons_are_stored_without_passwords(spec: TaskSpec) -> None:
    run = claimed(spec, queued(spec))
    reason = "connection to postgres://crew:hunter2@h/d failed"
    ledger.record_failed_attempt(run, reason)

    ledger.finish(run, RunState.FAILED, Report("Failed", reason), reason)

    stored = Run.objects.get(id=run.id)
    assert "hunter2" not in f"{stored.reason} {stored.summary} {stored.failures}"
    assert stored.reason == "connection to postgres://crew:***@h/d failed"


def test_the_next_run_gets_the_state_of_the_last_one_that_succeeded(spec: TaskSpec) -> None:
    assert ledger.previous_state(spec, "default") == {}
    for state, left in ((RunState.SUCCEEDED, 1), (RunState.SUCCEEDED, 2), (RunState.FAILED, 3)):
        run = claimed(spec, queued(spec))
        ledger.finish(run, state, Report("T", "S.", state={"seen": left}))

    assert ledger.previous_state(spec, "default") == {"seen": 2}
    assert ledger.previous_state(spec, "other") == {}
    assert ledger.previous_state(task_named("vacuum_analyze"), "default") == {}


# --- Back to the queue ---


def test_a_run_goes_back_to_the_queue_with_what_went_wrong(spec: TaskSpec) -> None:
    run = claimed(spec, queued(spec))
    ledger.record_failed_attempt(run, "The server is down.")
    before = timezone.now()

    ledger.requeue(run, 30, held=True)

    stored = Run.objects.get(id=run.id)
    assert stored.state == RunState.QUEUED
    assert stored.attempt == 1
    assert [failure["reason"] for failure in stored.failures] == ["The server is down."]
    assert stored.available_at is not None
    assert 29 <= (stored.available_at - before).total_seconds() <= 31


@pytest.mark.parametrize("held", [True, False])
def test_a_run_is_sent_when_it_is_due_unless_a_message_is_on_its_way(
    spec: TaskSpec, held: bool
) -> None:
    run = claimed(spec, queued(spec))
    ledger.requeue(run, 30, held=held)
    now = timezone.now()

    assert ledger.runs_without_a_message(10, 600, now + timedelta(seconds=20)) == []
    due = ledger.runs_without_a_message(10, 600, now + timedelta(seconds=45))
    assert due == ([] if held else [run])
    # A message that led to nothing for ten minutes after its time was lost.
    assert ledger.runs_without_a_message(10, 600, now + timedelta(seconds=700)) == [run]


def test_a_run_that_waits_for_its_limit_is_not_taken_before(spec: TaskSpec) -> None:
    run = queued(spec)

    ledger.postpone(run.id, 60, held=False)

    with pytest.raises(NotClaimed, match="not due before"):
        claimed(spec, run)
    now = timezone.now()
    assert ledger.runs_without_a_message(10, 600, now + timedelta(seconds=61)) == [run]


def test_only_a_run_that_is_queued_or_unknown_waits_for_a_start(spec: TaskSpec) -> None:
    run = queued(spec)

    assert ledger.waits_for_a_start(run.id)
    assert ledger.waits_for_a_start(uuid.uuid4())
    claimed(spec, run)
    assert not ledger.waits_for_a_start(run.id)


# --- Cancelling ---


def test_a_queued_run_is_cancelled_at_once_with_a_report(spec: TaskSpec) -> None:
    run = queued(spec)

    document = ledger.request_cancel(run, "crew")

    assert document is not None
    assert Run.objects.get(id=run.id).state == RunState.CANCELLED
    assert document.run.reason == "Cancelled by crew while it was queued."
    with pytest.raises(NotClaimed, match="cancelled"):
        claimed(spec, run)


def test_a_finished_run_cannot_be_cancelled(spec: TaskSpec) -> None:
    run = claimed(spec, queued(spec))
    ledger.finish(run, RunState.SUCCEEDED, REPORT)

    assert ledger.request_cancel(run, "crew") is None
    assert Run.objects.get(id=run.id).state == RunState.SUCCEEDED
