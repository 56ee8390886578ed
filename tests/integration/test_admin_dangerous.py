"""Tasks that can harm a site, in the admin: a permission of their own, and a box to tick."""

from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any

import pytest
from celery import Celery
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask

from maintenance.core.options import DryRunOption
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.reports import Report
from maintenance.core.runs import claims, ledger
from maintenance.core.runs.registry import TargetKind, task_named
from maintenance.models import Run, RunState
from tests.admin_clients import ClientFactory
from tests.ledger_rows import finished_run
from tests.made_tasks import TaskFactory

RUN_NOW = "/admin/maintenance/run/run-now/"
FORM = f"{RUN_NOW}?task=rebuild_for_test"
SCHEDULES = "/admin/maintenance/schedulerow/"
DANGER = "needs disk space for a second copy"


@pytest.fixture(autouse=True)
def rebuild(task_that: TaskFactory) -> None:
    def rebuild_for_test(_job: Any) -> Report:
        raise AssertionError

    task_that(
        rebuild_for_test,
        writes=True,
        dangerous="reindex",
        target_kind=TargetKind.DATABASE,
        options_type=DryRunOption,
    )


@pytest.fixture(autouse=True)
def allowing(settings: Any) -> None:
    """A database that allows it, with a window that opens in two hours; and one that does not."""
    later = timezone.now().astimezone(UTC) + timedelta(hours=2)
    window = {"start": later.time(), "end": (later + timedelta(hours=1)).time()}
    settings.MAINTENANCE = {
        "databases": {
            "default": {"alias": "default", "allow": ["reindex"], "windows": [window]},
            "strict": {"alias": "default", "allow": ["vacuum_full"]},
        }
    }


@pytest.fixture
def surgeon(client_with: ClientFactory) -> Client:
    """Somebody who may run what can harm, and nothing else."""
    return client_with("view_run", "view_schedulerow", "run_dangerous_task", username="sue")


def test_it_needs_its_own_permission_and_that_of_writing_tasks_is_not_enough(
    operator: Client,
) -> None:
    text = operator.get(RUN_NOW).content.decode()
    answer = operator.post(FORM, {"target": "default", "confirmed": "y", "understood": "on"})

    assert "rebuild_for_test" not in text
    assert answer.status_code == 403
    assert "You may not run tasks that can harm a site." in answer.content.decode()
    assert "Can run tasks that can harm a site" in answer.content.decode()
    assert not Run.objects.exists()


def test_who_may_is_offered_it_apart_from_the_harmless(surgeon: Client) -> None:
    ((heading, tasks),) = surgeon.get(RUN_NOW).context["groups"]

    assert heading == "Tasks that can harm a site"
    assert "rebuild_for_test" in {task["name"] for task in tasks}


def test_its_confirmation_says_what_it_does_and_has_a_box_that_is_not_ticked(
    surgeon: Client,
) -> None:
    text = surgeon.post(FORM, {"target": "default"}).content.decode()

    assert DANGER in text
    box = text.partition('<input type="checkbox" name="understood"')[2].partition(">")[0]
    assert "required" in box
    assert "checked" not in box
    assert "It has not started" not in text
    assert not Run.objects.exists()


def test_its_confirmation_says_that_no_window_is_open(surgeon: Client) -> None:
    facts = dict(surgeon.post(FORM, {"target": "default"}).context["facts"])

    assert facts["maintenance window"].startswith("closed until <time")
    assert facts["maintenance window"].endswith("a run by hand does not wait for it")


def test_a_target_that_does_not_allow_it_is_refused_before_anything_is_confirmed(
    surgeon: Client,
) -> None:
    for given in ({}, {"confirmed": "yes", "understood": "on"}):
        answer = surgeon.post(FORM, {"target": "strict", **given})
        (error,) = answer.context["form"].non_field_errors()
        assert error == 'reindex is off for database "strict": add allow = ["reindex"] to it.'

    assert not Run.objects.exists()


def test_it_starts_only_with_the_box_ticked(surgeon: Client) -> None:
    refused = surgeon.post(FORM, {"target": "default", "confirmed": "yes"})
    assert "It has not started: tick the box first if you want it." in refused.content.decode()
    assert not Run.objects.exists()

    surgeon.post(FORM, {"target": "default", "confirmed": "yes", "understood": "on"})
    assert Run.objects.get().options == {"dry_run": False}


def test_its_dry_run_needs_no_box(surgeon: Client) -> None:
    surgeon.post(FORM, {"target": "default", "option-dry_run": "on"})

    assert Run.objects.get().options == {"dry_run": True}


# --- What is confirmed on its plan alone ---


REWRITE = f"{RUN_NOW}?task=vacuum_full"
WANTED = {"target": "strict", "option-tables": "public.big", "option-lock_limit_seconds": "60"}


def dry_run_of(client: Client, **predicted: Any) -> Run:
    """Have the plan of a rewrite made, with what it foretells of a table."""
    client.post(REWRITE, {**WANTED, "plan_first": "yes"})
    waiting = Run.objects.get(state=RunState.QUEUED)
    assert waiting.options["dry_run"] is True
    run = claims.claim(waiting.id, task_named(waiting.task), waiting.target, waiting.options, "w@h")
    action = Action("vacuum full", "public.big", "VACUUM FULL big", "bloat", predicted)
    outcomes = (
        Outcome(action, Verdict.PLANNED),
        Outcome(replace(action, subject="public.lean"), Verdict.REFUSED, "not worth the lock"),
    )
    ledger.finish(run, RunState.SUCCEEDED, Report("Plan", "A plan.", outcomes=outcomes))
    return Run.objects.get(id=run.id)


def is_asked_for_its_plan(client: Client, **changed: str) -> bool:
    answer = client.post(
        REWRITE, {**WANTED, **changed, "confirmed": "yes", "understood": "on"}
    ).content.decode()
    assert ("It cannot be confirmed yet: it needs its plan" in answer) is (
        "Yes, run it for real" not in answer and 'name="understood"' not in answer
    )
    return 'name="plan_first"' in answer


def test_a_rewrite_cannot_be_confirmed_without_the_figures_of_its_plan(
    surgeon: Client, celery_setup_app: Celery
) -> None:
    assert is_asked_for_its_plan(surgeon)
    assert not Run.objects.exists()

    plan = dry_run_of(surgeon, lock_in_words="2 seconds", lock_seconds=2.0, disk_bytes=5 * 1024**2)
    text = surgeon.post(REWRITE, WANTED).content.decode()

    assert "What its plan foretells" in text
    assert "lock in words: 2 seconds" in text
    assert "disk: 5120 kB" in text
    assert "left alone: not worth the lock" in text
    assert "Yes, run it for real" in text
    assert f'name="plan" value="{plan.id}"' in text

    assert is_asked_for_its_plan(surgeon, **{"option-tables": "public.other"})
    surgeon.post(REWRITE, {**WANTED, "confirmed": "yes", "understood": "on"})
    run = Run.objects.exclude(id=plan.id).get()
    assert run.options == {**plan.options, "dry_run": False}


def test_a_rewrite_is_confirmed_again_where_another_plan_was_made_since(
    surgeon: Client, celery_setup_app: Celery
) -> None:
    seen = dry_run_of(surgeon, lock_in_words="2 seconds")
    newer = dry_run_of(surgeon, lock_in_words="9 minutes")
    ticked = {**WANTED, "confirmed": "yes", "understood": "on"}

    text = surgeon.post(REWRITE, {**ticked, "plan": str(seen.id)}).content.decode()

    assert "It has not started: the plan that you have seen" in text
    assert "lock in words: 9 minutes" in text
    assert Run.objects.count() == 2
    surgeon.post(REWRITE, {**ticked, "plan": str(newer.id)})
    assert Run.objects.count() == 3


@pytest.mark.parametrize("age", [timedelta(minutes=61), None])
def test_an_old_plan_of_a_rewrite_confirms_nothing(
    surgeon: Client, celery_setup_app: Celery, age: timedelta | None
) -> None:
    plan = dry_run_of(surgeon, lock_seconds=2.0)
    if age is None:  # the task has run since
        finished_run("vacuum_full", "strict")
    else:
        Run.objects.filter(id=plan.id).update(finished_at=timezone.now() - age)
    before = Run.objects.count()

    assert is_asked_for_its_plan(surgeon)
    assert Run.objects.count() == before


def test_a_rewrite_among_several_schedules_is_left_out(surgeon: Client) -> None:
    rewrite = PeriodicTask.objects.create(
        name="maintenance: our own rewrite",
        task="maintenance.vacuum_full",
        crontab=CrontabSchedule.objects.create(),
        kwargs='{"target": "strict", "options": {"tables": ["public.big"]}}',
    )

    text = run_selected(surgeon, rewrite, confirmed="yes", understood="on")
    assert "“Vacuum full” is confirmed on its plan alone, and was left out." in text
    assert not Run.objects.exists()

    run_selected(surgeon, rewrite, confirmed="yes", dry_run="on")
    assert Run.objects.get().options["dry_run"] is True


# --- Several schedules at once ---


@pytest.fixture
def row(db: None) -> PeriodicTask:
    return PeriodicTask.objects.create(
        name="maintenance: our own rebuild",
        task="maintenance.rebuild_for_test",
        crontab=CrontabSchedule.objects.create(),
        kwargs='{"target": "default"}',
    )


def run_selected(client: Client, row: PeriodicTask, **fields: str) -> str:
    given = {"action": "run_selected", "_selected_action": [row.pk], **fields}
    return str(client.post(SCHEDULES, given, follow=True).content.decode())


def test_running_several_names_the_danger_and_asks(surgeon: Client, row: PeriodicTask) -> None:
    text = run_selected(surgeon, row)

    assert DANGER in text
    box = text.partition('<input type="checkbox" name="understood"')[2].partition(">")[0]
    assert "checked" not in box


def test_several_start_with_the_box_or_as_a_dry_run(surgeon: Client, row: PeriodicTask) -> None:
    refused = run_selected(surgeon, row, confirmed="yes")
    assert "Nothing has started" in refused
    assert not Run.objects.exists()

    run_selected(surgeon, row, confirmed="yes", dry_run="on")
    run_selected(surgeon, row, confirmed="yes", understood="on")
    assert [run.options["dry_run"] for run in Run.objects.order_by("queued_at")] == [True, False]


def test_whoever_may_only_write_has_it_left_out(operator: Client, row: PeriodicTask) -> None:
    text = run_selected(operator, row)
    run_selected(operator, row, confirmed="yes", understood="on")

    assert "You may not run this task." in text
    assert DANGER not in text
    assert not Run.objects.exists()
