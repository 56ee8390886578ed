"""When a task that writes may work: its target's windows and leave; and what runs after it."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone

from maintenance.core.errors import Cancelled, ConfigurationError, Postponed
from maintenance.core.findings import Finding, Severity
from maintenance.core.options import DryRunOption
from maintenance.core.reports import FollowUp, Report
from maintenance.core.runs import ledger
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import TargetKind, TaskSpec
from maintenance.core.runs.task import maintenance_task
from maintenance.models import Run, RunState, Trigger
from tests.made_tasks import TaskFactory

pytestmark = pytest.mark.django_db(transaction=True)

BERLIN = ZoneInfo("Europe/Berlin")


@dataclass(frozen=True, slots=True)
class Options:
    """``round`` tells one run from another."""

    dry_run: bool = False
    round: int = 0
    tidy_only: bool = False


def configure(settings: Any, **database: Any) -> None:
    settings.MAINTENANCE = {
        "timezone": "Europe/Berlin",
        "databases": {"site": {"alias": "default", **database}},
    }


def window_from_now(opens_in: timedelta, lasts: timedelta) -> dict[str, Any]:
    """Return a daily window by the clock in Berlin, to the second."""
    opens = (datetime.now(BERLIN) + opens_in).replace(microsecond=0)
    return {"start": opens.time(), "end": (opens + lasts).time()}


OPEN = (timedelta(hours=-1), timedelta(hours=2))
CLOSED = (timedelta(hours=3), timedelta(hours=2))


@pytest.fixture
def vacuum(task_that: TaskFactory) -> TaskSpec:
    """A task that writes, and says what it knows of its window."""

    def vacuum_for_test(job: Any) -> Report:
        return Report("Vacuum", "Vacuumed.", facts={"window": str(job.window), "hand": job.by_hand})

    return task_that(
        vacuum_for_test, writes=True, target_kind=TargetKind.DATABASE, options_type=Options
    )


def queued(spec: TaskSpec, trigger: Trigger = Trigger.BEAT, **options: Any) -> Run:
    return ledger.create_run(spec, "site", options, Origin(trigger=trigger, actor="ann"))


def facts_of(run: Run) -> Any:
    return ledger.stored_document(run).report.facts


# --- Windows ---


def test_a_scheduled_run_outside_of_its_windows_waits_for_the_next_one(
    vacuum: TaskSpec, settings: Any
) -> None:
    configure(settings, windows=[window_from_now(*CLOSED)])
    run = work_here(queued(vacuum))

    assert (run.state, run.failures) == (RunState.QUEUED, [])
    assert run.available_at is not None
    wait = run.available_at - timezone.now()
    assert timedelta(hours=2, minutes=59) < wait <= timedelta(hours=3)
    opening = f"{run.available_at.astimezone(BERLIN):%Y-%m-%d %H:%M %z}"
    assert run.reason == (f"outside of its maintenance windows; the next one opens at {opening}.")


def test_a_scheduled_run_works_when_the_window_opens(vacuum: TaskSpec, settings: Any) -> None:
    configure(settings, windows=[window_from_now(timedelta(seconds=3), timedelta(hours=1))])
    waits: list[float] = []
    started = timezone.now()

    run = work_here(queued(vacuum), waits.append)

    assert (run.state, run.attempt, run.reason) == (RunState.SUCCEEDED, 2, "")
    assert len(waits) == 1
    assert run.started_at is not None
    assert run.started_at - started > timedelta(seconds=1.5)
    assert "OpenWindow" in facts_of(run)["window"]


def test_the_job_knows_when_its_window_closes_and_the_next_one_opens(
    task_that: TaskFactory, settings: Any
) -> None:
    window = window_from_now(*OPEN)
    configure(settings, windows=[window])
    seen: list[Any] = []

    def look(job: Any) -> Report:
        seen.append((job.window, job.by_hand))
        return Report("Look", "Looked.")

    spec = task_that(look, writes=True, target_kind=TargetKind.DATABASE)
    assert work_here(queued(spec)).state == RunState.SUCCEEDED

    ((window_seen, by_hand),) = seen
    closes = datetime.fromtimestamp(window_seen.closes_epoch_seconds, BERLIN)
    opens = datetime.fromtimestamp(window_seen.next_opens_epoch_seconds, BERLIN)
    assert (closes.time(), opens.time()) == (window["end"], window["start"])
    assert closes < opens < closes + timedelta(days=1)
    assert by_hand is False


@pytest.mark.parametrize("trigger", [Trigger.CLI, Trigger.ADMIN])
def test_a_run_by_hand_works_outside_of_the_windows(
    vacuum: TaskSpec, settings: Any, trigger: Trigger
) -> None:
    configure(settings, windows=[window_from_now(*CLOSED)])

    run = work_here(queued(vacuum, trigger))

    assert run.state == RunState.SUCCEEDED
    assert facts_of(run) == {"window": "None", "hand": True}


@pytest.mark.parametrize("trigger", [Trigger.API, Trigger.FOLLOW_UP])
def test_what_no_person_started_waits_as_a_schedule_does(
    vacuum: TaskSpec, settings: Any, trigger: Trigger
) -> None:
    configure(settings, windows=[window_from_now(*CLOSED)])

    assert work_here(queued(vacuum, trigger)).is_postponed


def test_a_run_that_only_tidies_up_needs_no_window(task_that: TaskFactory, settings: Any) -> None:
    def rebuild_or_tidy(_job: Any) -> Report:
        return Report("Rebuild", "Rebuilt.")

    configure(settings, windows=[window_from_now(*CLOSED)])
    spec = task_that(
        rebuild_or_tidy,
        writes=True,
        target_kind=TargetKind.DATABASE,
        options_type=Options,
        tidies_with="tidy_only",
    )

    tidying = work_here(queued(spec, Trigger.FOLLOW_UP, tidy_only=True))

    assert tidying.state == RunState.SUCCEEDED
    assert work_here(queued(spec, Trigger.FOLLOW_UP)).is_postponed


def test_an_option_to_tidy_up_with_has_to_be_one() -> None:
    decorate = maintenance_task(
        queue="low",
        target=TargetKind.DATABASE,
        writes=True,
        options=DryRunOption,
        tidies_with="tidy_onli",
    )

    with pytest.raises(ConfigurationError, match='has no option "tidy_onli"'):
        decorate(lambda _job: Report("T", "S."))


def test_a_dry_run_and_a_task_that_reads_need_no_window(
    vacuum: TaskSpec, task_that: TaskFactory, settings: Any
) -> None:
    def read(_job: Any) -> Report:
        return Report("Read", "Read.")

    configure(settings, windows=[window_from_now(*CLOSED)])

    assert work_here(queued(vacuum, dry_run=True)).state == RunState.SUCCEEDED
    reading = task_that(read, target_kind=TargetKind.DATABASE)
    assert work_here(queued(reading)).state == RunState.SUCCEEDED


def test_only_one_run_of_the_same_work_waits_for_a_window(vacuum: TaskSpec, settings: Any) -> None:
    configure(settings, windows=[window_from_now(*CLOSED)])
    first = work_here(queued(vacuum, round=1))

    second, other = work_here(queued(vacuum, round=1)), work_here(queued(vacuum, round=2))

    assert first.is_postponed
    assert other.is_postponed
    assert second.state == RunState.SKIPPED
    assert f"run {first.id} of the same work waits for it already." in second.reason


# --- Leave for what can harm ---


@pytest.fixture
def rebuild(task_that: TaskFactory) -> TaskSpec:
    def rebuild_for_test(_job: Any) -> Report:
        return Report("Rebuild", "Rebuilt.")

    return task_that(
        rebuild_for_test,
        writes=True,
        dangerous="reindex",
        target_kind=TargetKind.DATABASE,
        options_type=Options,
    )


@pytest.mark.parametrize("trigger", [Trigger.BEAT, Trigger.ADMIN, Trigger.CLI])
def test_dangerous_work_is_off_until_its_target_allows_it(
    rebuild: TaskSpec, settings: Any, trigger: Trigger
) -> None:
    configure(settings, allow=["vacuum_full"])
    run = work_here(queued(rebuild, trigger))
    assert run.state == RunState.SKIPPED
    assert run.reason == 'reindex is off for database "site": add allow = ["reindex"] to it.'

    configure(settings, allow=["reindex"])
    assert work_here(queued(rebuild, trigger)).state == RunState.SUCCEEDED


def test_a_dry_run_of_dangerous_work_is_always_possible(rebuild: TaskSpec, settings: Any) -> None:
    configure(settings)

    assert work_here(queued(rebuild, dry_run=True)).state == RunState.SUCCEEDED


@pytest.mark.parametrize("given", [{"writes": False, "options": DryRunOption}, {"writes": True}])
def test_a_dangerous_task_without_a_dry_run_is_no_task(given: dict[str, Any]) -> None:
    decorate = maintenance_task(
        queue="low", target=TargetKind.DATABASE, dangerous="reindex", **given
    )

    with pytest.raises(ConfigurationError, match="is dangerous: give it writes=True and a dry run"):
        decorate(lambda _job: Report("T", "S."))


# --- Follow-ups ---


@pytest.fixture
def asking(task_that: TaskFactory) -> TaskSpec:
    """A task that asks for another run of itself."""

    def ask_again(job: Any) -> Report:
        again = FollowUp({"round": job.options.round // 2}, delay_seconds=1.0)
        return Report("Ask", "Asked.", follow_up=again)

    return task_that(ask_again, writes=True, options_type=Options, target_kind=TargetKind.DATABASE)


def waiting() -> list[Run]:
    return list(Run.objects.filter(state=RunState.QUEUED))


def test_a_run_may_ask_for_another_which_waits_a_minute_at_least(
    asking: TaskSpec, settings: Any
) -> None:
    configure(settings)

    parent = work_here(queued(asking, Trigger.ADMIN, round=7))

    assert parent.state == RunState.SUCCEEDED
    (run,) = waiting()
    assert (run.task, run.target, run.options) == (parent.task, "site", {"round": 3})
    assert (run.trigger, run.actor, run.queue) == (Trigger.FOLLOW_UP, "ann", parent.queue)
    assert not run.is_by_hand
    assert run.available_at is not None
    assert timedelta(seconds=59) <= run.available_at - run.queued_at <= timedelta(seconds=61)
    assert ledger.runs_without_a_message(10, 600) == []
    due = timezone.now() + timedelta(seconds=62)
    assert ledger.runs_without_a_message(10, 600, due) == [run]


def test_the_same_work_is_asked_for_once(asking: TaskSpec, settings: Any) -> None:
    configure(settings)

    for number in (2, 3, 4):
        work_here(queued(asking, round=number))

    assert [run.options for run in waiting()] == [{"round": 1}, {"round": 2}][::-1]


def test_a_dry_run_asks_for_nothing(asking: TaskSpec, settings: Any) -> None:
    configure(settings)

    assert work_here(queued(asking, dry_run=True)).state == RunState.SUCCEEDED

    assert waiting() == []


def test_asking_for_a_run_with_wrong_options_fails_by_name(
    task_that: TaskFactory, settings: Any
) -> None:
    def ask_wrongly(_job: Any) -> Report:
        return Report("Ask", "Asked.", follow_up=FollowUp({"rond": 1}, 60.0))

    configure(settings)
    spec = task_that(ask_wrongly, options_type=Options, target_kind=TargetKind.DATABASE)

    run = work_here(queued(spec))

    assert run.state == RunState.FAILED
    assert 'Unknown option "rond". Did you mean "round"?' in run.reason
    assert waiting() == []


LEFT = Finding(
    code="left",
    severity=Severity.WARNING,
    subject="t_n_ccold",
    sentence="t_n_ccold is left over.",
    advice="Wait.",
)


def leaving_something(task_that: TaskFactory, error: BaseException, **fields: Any) -> TaskSpec:
    """A task that notes what it leaves open, and ends early."""

    def leave(job: Any) -> Report:
        job.loose_ends.note([LEFT], FollowUp({"tidy_only": True}, 60.0))
        raise error

    return task_that(
        leave, writes=True, options_type=Options, target_kind=TargetKind.DATABASE, **fields
    )


@pytest.mark.parametrize(
    ("error", "state"),
    [(Cancelled("Enough."), RunState.CANCELLED), (ValueError("broken"), RunState.FAILED)],
)
def test_what_a_run_that_did_not_succeed_leaves_is_named_and_followed_up(
    task_that: TaskFactory, settings: Any, error: Exception, state: RunState
) -> None:
    configure(settings)

    run = work_here(queued(leaving_something(task_that, error)))

    assert run.state == state
    assert "t_n_ccold is left over." in {
        finding.sentence for finding in ledger.stored_document(run).report.findings
    }
    (follow_up,) = waiting()
    assert (follow_up.trigger, follow_up.options) == (Trigger.FOLLOW_UP, {"tidy_only": True})


def test_what_an_interrupted_command_leaves_is_named_and_followed_up(
    task_that: TaskFactory, settings: Any
) -> None:
    configure(settings)
    run = queued(leaving_something(task_that, KeyboardInterrupt()))

    with pytest.raises(KeyboardInterrupt):
        work_here(run)

    run.refresh_from_db()
    assert (run.state, run.reason) == (RunState.CANCELLED, "Interrupted at the terminal.")
    assert [f.code for f in ledger.stored_document(run).report.findings] == ["left"]
    assert [other.options for other in waiting()] == [{"tidy_only": True}]


def test_what_a_postponed_run_leaves_does_not_wait_for_its_time(
    task_that: TaskFactory, settings: Any
) -> None:
    configure(settings)
    until = timezone.now().timestamp() + 7200

    run = work_here(queued(leaving_something(task_that, Postponed("Closed.", until))))

    assert run.is_postponed
    assert run.reason == "Closed. t_n_ccold is left over."
    (follow_up,) = (other for other in waiting() if other.id != run.id)
    assert follow_up.options == {"tidy_only": True}
    assert follow_up.available_at is not None
    assert follow_up.available_at < timezone.now() + timedelta(seconds=61)


def test_a_run_that_tidies_up_and_comes_again_by_itself_asks_for_no_other(
    task_that: TaskFactory, settings: Any
) -> None:
    configure(settings)
    until = timezone.now().timestamp() + 7200
    spec = leaving_something(task_that, Postponed("Closed.", until))

    run = work_here(queued(spec, tidy_only=True))

    assert [other.id for other in waiting()] == [run.id]
