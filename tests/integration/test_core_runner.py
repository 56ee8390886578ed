"""What surrounds a task's own line of work, carried out in this process on a real ledger."""

import json
import logging
import threading
import uuid
from contextlib import closing, nullcontext
from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from celery import Celery
from celery.exceptions import Ignore, Reject, SoftTimeLimitExceeded
from django.core.files.storage import FileSystemStorage
from django.db import IntegrityError, connection
from django.db.models.functions import Now
from django.utils import timezone

from maintenance.commands.crew.watching import progress_line
from maintenance.core.findings import Finding, Severity
from maintenance.core.rates import RateLimit
from maintenance.core.reports import Report
from maintenance.core.runs import claims, ledger, ledger_patience, runner
from maintenance.core.runs.dispatch import record_run
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.lease import Lease, steady_seconds
from maintenance.core.runs.ledger import LEASE_SECONDS, Origin
from maintenance.core.runs.progress import LedgerProgress
from maintenance.core.runs.registry import task_named
from maintenance.models import Run, RunState, StoredFinding, StoredReport, Trigger
from maintenance.reports.log_store import LogStore, configured_store
from service.embedded.postgres import EmbeddedPostgres
from tests.integration.test_core_steps import ledger_away
from tests.ledger_rows import running_run
from tests.local_containers import LocalRedis
from tests.made_tasks import TaskFactory
from tests.polling import eventually

pytestmark = pytest.mark.django_db(transaction=True)

BY_HAND = Origin(Trigger.CLI, actor="crew")
FILE_STORAGE = "django.core.files.storage.FileSystemStorage"


@pytest.fixture(autouse=True)
def log_store(settings: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A log store of this test's own."""
    monkeypatch.setenv("TESTAPP_REDIS_URL", "redis://:very-secret@127.0.0.1:1/0")
    folder = tmp_path / "own-log-store"
    folder.mkdir()
    store = {"BACKEND": FILE_STORAGE, "OPTIONS": {"location": str(folder)}}
    settings.STORAGES = {**settings.STORAGES, "maintenance": store}
    return folder


def queued(name: str, target: str = "", **options: Any) -> Run:
    return record_run(task_named(name), target, options, BY_HAND)


class InBackground:
    """A run that works in a thread of its own while the test looks at it."""

    def __init__(self, run: Run) -> None:
        self._run = run
        self.ended: Run | None = None
        self._thread = threading.Thread(target=self._work)
        self._thread.start()

    def _work(self) -> None:
        try:
            self.ended = work_here(self._run)
        finally:
            connection.close()

    def wait_until_it_works(self) -> None:
        eventually(
            lambda: Run.objects.get(id=self._run.id).progress_done > 0, 10, "the run has progress"
        )

    def join(self) -> Run:
        self._thread.join(timeout=20)
        assert not self._thread.is_alive()
        return Run.objects.get(id=self._run.id)


# --- The good end ---


def test_a_run_that_succeeds_leaves_its_report_in_ledger_files_and_log(
    log_store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="maintenance.runs")
    logging.getLogger("maintenance.runs").addHandler(caplog.handler)
    try:
        run = work_here(queued("note_low", number=5))
    finally:
        logging.getLogger("maintenance.runs").removeHandler(caplog.handler)

    assert (run.state, run.severity, run.summary) == (RunState.SUCCEEDED, "info", "Noted 5.")
    assert run.attempt == 1
    files = StoredReport.objects.get(run=run).files
    assert sorted(Path(name).suffix for name in files) == [".html", ".json", ".txt"]
    assert all((log_store / name).is_file() for name in files)
    (as_json,) = (log_store / name for name in files if name.endswith(".json"))
    stored = json.loads(as_json.read_text())
    assert stored == ledger.stored_document(run).to_json()
    lines = [r.__dict__["document"] for r in caplog.records if r.name == "maintenance.runs"]
    assert {line["run_id"] for line in lines} == {str(run.id)}


def test_a_task_that_has_nothing_to_run_on_is_skipped_with_the_reason() -> None:
    run = work_here(queued("check_queue_depths"))

    assert run.state == RunState.SKIPPED
    assert run.reason == "not configured: there is no broker target"
    assert ledger.stored_document(run).report.summary == f"Skipped: {run.reason}"


def test_what_a_run_leaves_for_the_next_one_reaches_it(
    task_that: TaskFactory,
) -> None:
    def count_up(job: Any) -> Report:
        count = job.previous_state.get("count", 0) + 1
        return Report("Count", f"Counted {count}.", state={"count": count})

    spec = task_that(count_up)

    summaries = [work_here(ledger.create_run(spec, "", {}, BY_HAND)).summary for _ in range(3)]

    assert summaries == ["Counted 1.", "Counted 2.", "Counted 3."]


# --- Failures ---


def test_an_outage_is_tried_again_as_often_as_the_task_says_and_every_attempt_is_kept() -> None:
    run = work_here(queued("reach_in_vain", "main"))

    assert run.state == RunState.FAILED
    assert run.attempt == 3
    assert [failure["attempt"] for failure in run.failures] == [1, 2, 3]
    report = ledger.stored_document(run).report
    assert report.severity is Severity.CRITICAL
    assert report.summary.startswith("Failed after 3 attempts: ")
    assert report.findings[0].evidence["attempts"] == 3


def test_a_mistake_is_not_tried_again() -> None:
    run = work_here(queued("break_at_once"))

    assert (run.state, run.attempt) == (RunState.FAILED, 1)


def test_a_reason_names_the_address_and_never_the_password(
    log_store: Path, caplog: pytest.LogCaptureFixture
) -> None:
    runs = [work_here(queued("reach_in_vain", "main")), work_here(queued("break_at_once"))]

    assert "redis://app:***@cache.example:6379/0 (main) is down" in runs[0].reason
    assert runs[1].reason == "password=*** is no number"
    everywhere = caplog.text + "".join(p.read_text() for p in log_store.rglob("*") if p.is_file())
    everywhere += str(list(Run.objects.values())) + str(list(StoredReport.objects.values()))
    everywhere += str(list(StoredFinding.objects.values()))
    assert "very-secret" not in everywhere
    assert "hunter2" not in everywhere
    assert "cache.example" in everywhere


def test_a_secret_in_a_report_does_not_reach_the_ledger(
    task_that: TaskFactory,
) -> None:
    def tell_all(_job: Any) -> Report:
        said = "ALTER ROLE crew PASSWORD 'hunter2'"
        finding = Finding("slow", Severity.INFO, said, said, evidence={"statement": said})
        return Report("Statements", said, findings=(finding,))

    run = work_here(ledger.create_run(task_that(tell_all), "", {}, BY_HAND))

    assert run.state == RunState.SUCCEEDED
    stored = f"{run.summary} {StoredReport.objects.get().body}"
    assert "hunter2" not in stored + str(list(StoredFinding.objects.values()))
    assert "ALTER ROLE crew PASSWORD '***'" in stored


def test_numbers_of_the_database_become_plain_numbers(
    task_that: TaskFactory,
) -> None:
    def count_exactly(_job: Any) -> Report:
        return Report("Count", "Counted.", facts={"rows": Decimal(7), "share": Decimal("0.5")})

    run = work_here(ledger.create_run(task_that(count_exactly), "", {}, BY_HAND))

    assert ledger.stored_document(run).report.facts == {"rows": 7, "share": 0.5}


def test_a_report_that_json_cannot_hold_fails_its_run_by_name(
    task_that: TaskFactory,
) -> None:
    def return_a_thing(_job: Any) -> Report:
        return Report("Thing", "A thing.", facts={"handle": object()})

    run = work_here(ledger.create_run(task_that(return_a_thing), "", {}, BY_HAND))

    assert run.state == RunState.FAILED
    assert 'A report holds a object under "handle"' in run.reason


def test_a_report_that_the_ledger_cannot_store_fails_its_run(
    task_that: TaskFactory,
) -> None:
    def speak_in_long_codes(_job: Any) -> Report:
        return Report("T", "S.", findings=(Finding("c" * 101, Severity.INFO, "x", "y"),))

    run = work_here(ledger.create_run(task_that(speak_in_long_codes), "", {}, BY_HAND))

    assert run.state == RunState.FAILED
    assert "could not be stored" in run.reason
    assert not StoredFinding.objects.filter(code__startswith="cc").exists()


def test_a_log_store_that_is_away_fails_no_work(
    settings: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    in_the_way = tmp_path / "in-the-way"
    in_the_way.write_text("a file where a folder should be")
    store = {"BACKEND": FILE_STORAGE, "OPTIONS": {"location": str(in_the_way)}}
    settings.STORAGES = {**settings.STORAGES, "maintenance": store}

    run = work_here(queued("note_low", number=1))

    assert run.state == RunState.SUCCEEDED
    assert StoredReport.objects.get(run=run).files == []
    assert "is in the ledger only" in caplog.text


@pytest.mark.parametrize(
    "error", [ValueError("password=hunter2 is no name"), SoftTimeLimitExceeded(1)]
)
def test_whatever_happens_to_the_files_a_run_that_ended_is_logged(
    error: Exception, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)

    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(LogStore, "names_of", fail)
    run = carried_out(queued("note_low", number=1))

    assert run.state == RunState.SUCCEEDED
    assert (
        f"were not all written, its report is in the ledger: {type(error).__name__}" in caplog.text
    )
    assert "run finished" in caplog.text
    assert "hunter2" not in caplog.text


def cut_the_ledger() -> None:
    """End this process's session of the ledger."""
    pid = connection.connection.info.backend_pid
    with closing(psycopg2.connect(**connection.get_connection_params())) as other:
        other.autocommit = True
        other.cursor().execute("SELECT pg_terminate_backend(%s, 5000)", [pid])


def test_a_message_stays_with_its_broker_while_neither_ledger_nor_broker_takes_anything(
    celery_setup_app: Celery, default_redis_broker: LocalRedis, postgres_server: EmbeddedPostgres
) -> None:
    task = celery_setup_app.tasks["maintenance.note_low"]
    task.push_request(id=str(uuid.uuid4()), called_directly=False, args=(), kwargs={})
    default_redis_broker._container.stop()

    try:
        with ledger_away(postgres_server), pytest.raises(Reject) as refusal:
            runner.execute(task, task_named("note_low"), "", {"number": 1})
    finally:
        task.pop_request()

    assert refusal.value.requeue


@pytest.mark.parametrize("is_patient", [True, False])
def test_a_ledger_that_blinks_before_files_are_written_costs_no_ping_and_no_line(
    log_store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture,
    is_patient: bool,
) -> None:  # fmt: skip
    caplog.set_level(logging.INFO)
    names_of, cuts = LogStore.names_of, iter([cut_the_ledger])

    def names(*arguments: Any) -> list[str]:
        next(cuts, lambda: None)()
        return names_of(*arguments)

    monkeypatch.setattr(LogStore, "names_of", names)
    if not is_patient:
        monkeypatch.setattr(ledger_patience, "FINISH_PATIENCE_SECONDS", -1.0)

    run = carried_out(queued("note_low", number=1))

    assert run.state == RunState.SUCCEEDED
    assert "run finished" in caplog.text
    files = [path for path in log_store.rglob("*") if path.is_file()]
    assert len(StoredReport.objects.get(run=run).files) == len(files) == (3 if is_patient else 0)
    assert ("has no files: the ledger is away" in caplog.text) is not is_patient


def test_an_end_whose_answer_was_lost_is_told_all_the_same(
    log_store: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    finish, cuts = ledger.finish, iter([cut_the_ledger])

    def finish_and_lose_the_answer(*arguments: Any, **options: Any) -> Any:
        document = finish(*arguments, **options)
        if cut := next(cuts, None):
            cut()
            Run.objects.count()  # raises, as the answer to COMMIT would have
        return document

    monkeypatch.setattr(ledger, "finish", finish_and_lose_the_answer)

    run = carried_out(queued("note_low", number=1))

    assert run.state == RunState.SUCCEEDED
    assert "run finished" in caplog.text
    assert "ended by somebody else" not in caplog.text
    assert len(StoredReport.objects.get(run=run).files) == 3


def test_an_end_of_somebody_else_s_is_none_of_ours(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    finish, cuts = ledger.finish, iter([cut_the_ledger])

    def finish_after_another(*arguments: Any, **options: Any) -> Any:
        if cut := next(cuts, None):
            Run.objects.update(state=RunState.CANCELLED)
            cut()
        return finish(*arguments, **options)

    monkeypatch.setattr(ledger, "finish", finish_after_another)
    with pytest.raises(Ignore):
        carried_out(queued("note_low", number=1))
    assert "ended by somebody else" in caplog.text


class DiesInTheMiddle(FileSystemStorage):
    """Writes half of the second file, and then the process is killed."""

    def _save(self, name: str, content: Any) -> str:
        if ".txt" not in name:
            return super()._save(name, content)
        Path(self.path(name)).write_text("half")
        raise KeyboardInterrupt


def test_files_of_a_worker_that_was_killed_as_it_wrote_go_with_their_run(
    log_store: Path, settings: Any
) -> None:
    store = {"BACKEND": f"{__name__}.DiesInTheMiddle", "OPTIONS": {"location": str(log_store)}}
    settings.STORAGES = {**settings.STORAGES, "maintenance": store}
    with pytest.raises(KeyboardInterrupt):
        carried_out(run := queued("note_low", number=1))
    left = {path.suffix for path in log_store.rglob("*") if path.is_file()}
    assert left == {".html", ".part"}

    configured_store().delete(StoredReport.objects.get(run=run).files)

    assert list(log_store.iterdir()) == []


def carried_out(run: Run) -> Run:
    """Carry out a run as a worker does, and return it as it is then."""
    spec = task_named(run.task)
    carrier = type("Carrier", (), {})()
    carrier.request = type("Request", (), {"id": str(run.id), "hostname": "here"})
    carrier.update_state = lambda **_details: None
    runner.execute(carrier, spec, run.target, run.options)
    connection.close()
    run.refresh_from_db()
    return run


# --- Overlap, cancelling, losing the lease ---


def test_a_second_run_of_the_same_work_is_skipped_and_names_the_first(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    first = queued("wait_at_gate", gate=str(gate))
    working = InBackground(first)
    working.wait_until_it_works()

    second = work_here(queued("wait_at_gate", gate=str(gate)))

    assert second.state == RunState.SKIPPED
    assert f"Another run of wait_at_gate on the site ({first.id}) has been at work" in second.reason
    gate.touch()
    assert working.join().state == RunState.SUCCEEDED


@pytest.mark.parametrize(("times", "is_taken"), [(1, True), (claims.CLAIM_LOOKS, False)])
def test_a_run_is_taken_though_the_one_in_its_way_ends_while_a_worker_looks(
    monkeypatch: pytest.MonkeyPatch, times: int, is_taken: bool
) -> None:
    run, spec = queued("note_low", number=1), task_named("note_low")
    Run.objects.filter(id=run.id).update(published_at=Now())
    others = [queued("note_low", number=2) for _ in range(times)]
    claim_looking = claims._claim_looking

    def claim_beside_others(*_given: Any) -> None:
        """Find another run at work, while there are others."""
        if others:
            other = others.pop()
            Run.objects.filter(id=other.id).update(
                state=RunState.RUNNING, resource=spec.resource_of({}), heartbeat_at=Now()
            )

    def ends_meanwhile(*given: Any) -> Run:
        try:
            return claim_looking(*given)
        except IntegrityError:
            Run.objects.filter(state=RunState.RUNNING).update(state=RunState.SUCCEEDED)
            raise

    monkeypatch.setattr(claims, "_claim_at_once", claim_beside_others)
    monkeypatch.setattr(claims, "_claim_looking", ends_meanwhile)
    with nullcontext() if is_taken else pytest.raises(claims.NotClaimed):
        claims.claim(run.id, spec, "", run.options, "worker@host")
    run.refresh_from_db()
    assert run.state == (RunState.RUNNING if is_taken else RunState.QUEUED)
    assert (run.published_at is not None) == is_taken  # the scheduler sends it again


def test_a_run_that_is_asked_to_stop_ends_as_cancelled(tmp_path: Path) -> None:
    run = queued("wait_at_gate", gate=str(tmp_path / "never"))
    working = InBackground(run)
    working.wait_until_it_works()

    ledger.request_cancel(run, "crew")

    ended = working.join()
    assert ended.state == RunState.CANCELLED
    assert ended.reason == "Cancelled by crew while it was at work."


def test_a_worker_that_lost_its_run_stops_and_leaves_the_end_to_the_other(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = queued("wait_at_gate", gate=str(gate))
    working = InBackground(run)
    working.wait_until_it_works()
    long_ago = timezone.now() - timedelta(seconds=LEASE_SECONDS + 60)

    def taken_over() -> bool:
        Run.objects.filter(id=run.id).update(heartbeat_at=long_ago)
        try:
            claims.claim(run.id, task_named("wait_at_gate"), "", run.options, "other@host")
        except claims.NotClaimed:  # the first worker's heartbeat came between the two statements
            return False
        return True

    eventually(taken_over, 10, "another worker has taken the run over")

    left = working.join()
    assert (left.state, left.worker, left.attempt) == (RunState.RUNNING, "other@host", 2)
    assert not StoredReport.objects.exists()


def test_progress_is_stored_with_its_phase_and_unit(tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    run = queued("wait_at_gate", gate=str(gate))
    working = InBackground(run)
    working.wait_until_it_works()

    stored = Run.objects.get(id=run.id)

    assert (stored.phase, stored.progress_unit) == ("waiting at the gate", "looks")
    assert stored.progress_total is None
    gate.touch()
    assert working.join().state == RunState.SUCCEEDED


class Watched:
    """A carrier that keeps what it was shown."""

    request = None

    def __init__(self) -> None:
        self.shown: list[dict[str, Any]] = []
        self.words = ""

    def update_state(self, *, state: str, meta: dict[str, Any]) -> None:
        self.shown.append({"state": state, **meta})

    def send_event(self, type_: str, retry: bool = True, **fields: Any) -> None:
        self.words = fields["result"]

    def retry(
        self, *, exc: Exception | None = None, countdown: float, max_retries: int | None
    ) -> Exception:
        raise NotImplementedError


def test_the_row_and_celery_are_told_the_same_progress_and_pace(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("maintenance.core.pace.SHORTEST_SECONDS", 0.0)
    monkeypatch.setattr("maintenance.core.runs.progress.PROGRESS_SECONDS", 0.0)
    run = running_run()
    carrier = Watched()
    progress = LedgerProgress(Lease(run, steady_seconds()), carrier)

    progress.update(10, 100, phase="weighing", unit="keys")
    first = Run.objects.get(id=run.id)
    progress.update(60, 100, phase="weighing more", unit="keys")
    run.refresh_from_db()

    assert (first.progress_from, first.pace) == (10, None)
    assert (run.progress_since, run.progress_from) == (first.progress_since, 10)
    assert run.pace is not None
    shown = carrier.shown[-1]
    assert (shown["done"], shown["total"], shown["phase"]) == (60, 100, "weighing more")
    assert shown["per_second"] * shown["seconds_left"] == pytest.approx(40)
    assert run.pace.per_second * (run.pace.seconds_left or 0) == pytest.approx(40)
    assert "of 100 keys (60.0 %), " in progress_line(run)
    assert "60 of 100 keys (60 %), " in carrier.words

    progress.update(3, 50, phase="another group", unit="keys")
    run.refresh_from_db()
    assert run.progress_from == 3, "a count that falls back begins anew"
    assert run.pace is None
    assert carrier.shown[-1]["per_second"] is None


# --- Limits, and work in this process ---


def test_a_run_over_its_rate_limit_waits_and_an_interrupted_wait_cancels_it() -> None:
    for number in range(3):
        assert work_here(queued("note_rarely", number=number)).state == RunState.SUCCEEDED
    waits: list[float] = []

    def interrupt(seconds: float) -> None:
        waits.append(seconds)
        raise KeyboardInterrupt

    run = queued("note_rarely", number=4)
    with pytest.raises(KeyboardInterrupt):
        work_here(run, interrupt)

    (wait,) = waits
    assert 1100 < wait <= 1200, "three starts an hour are 20 minutes apart"
    run.refresh_from_db()
    assert (run.state, run.attempt) == (RunState.CANCELLED, 0)
    assert run.reason == "Interrupted at the terminal."


def test_runs_over_their_rate_limit_are_told_to_come_one_after_the_other(
    task_that: TaskFactory,
) -> None:
    spec = task_that(lambda _job: Report("T", "Done."), rate_limit=RateLimit(1, 100))
    first, *refused = [queued(spec.name) for _ in range(3)]
    assert carried_out(first).state == RunState.SUCCEEDED

    for run in refused:
        with pytest.raises(Ignore):
            carried_out(run)

    second, third = Run.objects.filter(state=RunState.QUEUED).order_by("queued_at")
    assert (third.available_at - second.available_at).total_seconds() == pytest.approx(100, abs=20)


def test_an_interrupted_run_is_cancelled_so_that_no_worker_takes_it_up(
    task_that: TaskFactory,
) -> None:
    def interrupted(_job: Any) -> Report:
        raise KeyboardInterrupt

    run = ledger.create_run(task_that(interrupted), "", {}, BY_HAND)
    with pytest.raises(KeyboardInterrupt):
        work_here(run)

    run.refresh_from_db()
    assert run.state == RunState.CANCELLED
    assert ledger.stored_document(run).run.reason == "Interrupted at the terminal."


def test_a_run_that_another_worker_holds_is_left_to_it() -> None:
    run = queued("note_low")
    claims.claim(run.id, task_named("note_low"), "", {}, "other@host")

    left = work_here(run)

    assert (left.state, left.worker) == (RunState.RUNNING, "other@host")
