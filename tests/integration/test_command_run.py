"""``maintenance run`` where a run is put off, and where it could do harm; and who else waits."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from io import StringIO
from time import time
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import Client
from django.urls import reverse
from django.utils import timezone

from maintenance.commands.crew.watching import StillGoing, watch
from maintenance.core.errors import Postponed, UnknownName
from maintenance.core.options import DryRunOption
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report
from maintenance.core.runs.dispatch import record_run
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import TargetKind, TaskSpec
from maintenance.models import Alarm, Run, RunState, StoredFinding, Trigger
from service.up.once import ChecklistRunner
from service.up.output import Output
from service.up.progress_view import LineView
from tests.made_tasks import TaskFactory

pytestmark = pytest.mark.django_db(transaction=True)

REASON = "3 statements wait for locks."


@pytest.fixture
def busy(task_that: TaskFactory) -> TaskSpec:
    """A task that finds its target busy and waits for two hours."""

    def find_it_busy(_job: Any) -> Report:
        raise Postponed(REASON, time() + 7200)

    return task_that(find_it_busy)


def put_off(spec: TaskSpec) -> Run:
    return work_here(record_run(spec, "", {}, Origin(Trigger.CLI)))


def run_command(*words: str) -> tuple[int, str, str]:
    """Return the exit code, standard output and standard error."""
    out, err = StringIO(), StringIO()
    try:
        call_command("maintenance", *words, stdout=out, stderr=err)
    except SystemExit as end:
        return int(str(end.code)), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def test_a_run_that_is_put_off_for_long_is_not_waited_for(busy: TaskSpec) -> None:
    code, out, err = run_command("run", "find_it_busy", "--now")

    run = Run.objects.get()
    assert (run.state, run.is_postponed) == (RunState.QUEUED, True)
    assert (code, out) == (2, "")
    assert f"find_it_busy waits until {timezone.localtime(run.available_at):%Y-%m-%d %H:%M}" in err
    assert f"{REASON} A worker takes it up then." in err


def test_who_watches_a_run_on_a_worker_is_told_as_well(busy: TaskSpec) -> None:
    with pytest.raises(StillGoing, match=r"find_it_busy waits until .*: 3 statements wait"):
        watch(put_off(busy), lambda _line: None)


def test_a_short_wait_is_waited_for(task_that: TaskFactory) -> None:
    waits: list[float] = []

    def wait_a_second(_job: Any) -> Report:
        if not waits:
            raise Postponed(REASON, time() + 0.1)
        return Report("Done", "Done.")

    spec = task_that(wait_a_second)
    run = work_here(record_run(spec, "", {}, Origin(Trigger.CLI)), waits.append)

    assert run.state == RunState.SUCCEEDED
    assert 0 < waits[0] <= 1


def test_lists_say_until_when_and_why(busy: TaskSpec) -> None:
    put_off(busy)

    _code, out, _err = run_command("runs")

    assert "waits until 20" in out
    assert REASON in out


def test_the_admin_says_until_when_and_why(busy: TaskSpec, operator: Client) -> None:
    run = put_off(busy)
    pages = [
        reverse("admin:maintenance_run_changelist"),
        reverse("admin:maintenance_run_change", args=[run.id]),
        reverse("admin:maintenance_run_progress", args=[run.id]),
    ]

    texts = [operator.get(page).content.decode() for page in pages]

    assert all("waits until" in text and REASON in text for text in texts)
    announced = operator.get(pages[2]).json()["announcement"]
    assert announced.startswith("waits until 20")
    assert "<" not in announced


def test_up_once_ends_with_a_run_that_is_put_off_for_long_and_says_so(
    busy: TaskSpec, capsys: pytest.CaptureFixture[str]
) -> None:
    output = Output()
    runner = ChecklistRunner(None, output)  # type: ignore[arg-type]  # nothing is supervised here
    runner.runs = [put_off(busy)]

    assert runner._have_ended(0, LineView(output, "weekly"))
    runner._tell_of_waiting(0)
    said = " ".join(capsys.readouterr().out.split())
    assert f"{REASON} A worker takes it up then." in said

    Run.objects.update(available_at=timezone.now() + timedelta(seconds=30))
    assert not runner._have_ended(0, LineView(output, "weekly")), "a short wait is waited for"


# --- What can harm ---


@pytest.fixture
def rebuild(task_that: TaskFactory) -> TaskSpec:
    def rebuild_for_test(_job: Any) -> Report:
        return Report("Rebuild", "Planned.")

    return task_that(
        rebuild_for_test,
        writes=True,
        dangerous="reindex",
        target_kind=TargetKind.DATABASE,
        options_type=DryRunOption,
    )


def test_what_can_harm_needs_a_yes(rebuild: TaskSpec) -> None:
    with pytest.raises(
        CommandError, match=r"can harm a site: Made for a test\. Read its plan with"
    ):
        run_command("run", rebuild.short_name, "--now")

    assert not Run.objects.exists()


def test_a_yes_does_not_stand_for_the_configuration(rebuild: TaskSpec) -> None:
    code, out, _err = run_command("run", rebuild.short_name, "--now", "--yes")

    assert code == 2
    assert 'add allow = ["reindex"] to it' in " ".join(out.split())


@pytest.mark.parametrize("dry", [["--dry-run"], ["--option", "dry_run=true"]])
def test_a_dry_run_needs_no_yes(rebuild: TaskSpec, dry: list[str]) -> None:
    code, out, _err = run_command("run", rebuild.short_name, "--now", *dry)

    assert code == 0
    assert "Planned." in out


@dataclass(frozen=True, slots=True)
class RewriteOptions(DryRunOption):
    tables: tuple[str, ...] = ()
    lock_limit_seconds: float = 60.0


@pytest.fixture
def rewrite(task_that: TaskFactory) -> TaskSpec:
    """A task whose dry run foretells what it costs, on which alone a person confirms it."""

    def rewrite_for_test(job: Any) -> Report:
        assert job.options.dry_run
        (table,) = job.options.tables
        action = Action("vacuum full", table, "VACUUM FULL", "bloat", {"lock_seconds": 2.0})
        return Report("Plan", "Planned.", outcomes=(Outcome(action, Verdict.PLANNED),))

    return task_that(
        rewrite_for_test,
        writes=True,
        dangerous="vacuum_full",
        needs_plan=True,
        target_kind=TargetKind.DATABASE,
        options_type=RewriteOptions,
    )


TABLES = ("--option", 'tables=["public.big"]')
IS_CONFIRMED_ON_ITS_PLAN = r"within the last hour, and no other run of it since\. Read its plan"


def is_refused_for_want_of_its_plan(spec: TaskSpec, words: Sequence[str]) -> bool:
    before = Run.objects.count()
    with pytest.raises(CommandError, match=IS_CONFIRMED_ON_ITS_PLAN):
        run_command("run", spec.short_name, "--now", "--yes", *words)
    return Run.objects.count() == before


def test_a_rewrite_starts_on_the_figures_of_its_plan_alone(rewrite: TaskSpec) -> None:
    assert is_refused_for_want_of_its_plan(rewrite, TABLES)
    run_command("run", rewrite.short_name, "--now", "--dry-run", *TABLES)
    assert is_refused_for_want_of_its_plan(rewrite, ("--option", 'tables=["public.other"]'))

    spelt_out = (*TABLES, "--option", "lock_limit_seconds=60")
    code, out, err = run_command("run", rewrite.short_name, "--now", "--yes", *spelt_out)

    assert "What its plan foretells:\n  public.big: lock: 2 s\n" in err
    assert code == 2
    assert 'add allow = ["vacuum_full"] to it' in " ".join(out.split())
    assert is_refused_for_want_of_its_plan(rewrite, TABLES), "it has run since"


def test_a_mistyped_target_is_named_before_its_plan_is_asked_for(rewrite: TaskSpec) -> None:
    with pytest.raises(CommandError, match='Did you mean "default"'):
        run_command("run", rewrite.short_name, "--now", "--yes", "--target", "defualt", *TABLES)


def test_an_old_plan_of_a_rewrite_confirms_nothing(rewrite: TaskSpec) -> None:
    run_command("run", rewrite.short_name, "--now", "--dry-run", *TABLES)
    Run.objects.update(finished_at=timezone.now() - timedelta(minutes=61))

    assert is_refused_for_want_of_its_plan(rewrite, TABLES)


def test_a_misspelt_table_is_one_sentence_and_nobodys_alarm(
    settings: Any, caplog: pytest.LogCaptureFixture
) -> None:
    told = {"recipients": ["ops@example.org"], "alarm_severity": "warning"}
    settings.MAINTENANCE = {**settings.MAINTENANCE, "notifications": told}

    option = 'tables=["public.auth_usr"]'
    words = ("--target", "default", "--option", option, "--dry-run", "--now")
    code, out, err = run_command("run", "vacuum_full", *words)

    sentence = 'Unknown table "public.auth_usr". Did you mean "public.auth_user"?'
    run = Run.objects.get()
    assert (code, run.state, run.reason) == (2, RunState.SKIPPED, sentence)
    assert sentence in out + err
    assert "Traceback" not in out + err + caplog.text
    assert not StoredFinding.objects.exists()
    assert not Alarm.objects.exists()


def test_a_table_that_a_schedule_names_in_vain_is_a_failure(task_that: TaskFactory) -> None:
    def know_no_such_table(_job: Any) -> Report:
        raise UnknownName('Unknown table "gone".')

    run = work_here(record_run(task_that(know_no_such_table), "", {}, Origin(Trigger.BEAT)))

    assert (run.state, run.reason) == (RunState.FAILED, 'Unknown table "gone".')
