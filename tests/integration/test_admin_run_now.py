"""Running a task by hand from the admin."""

import re
from datetime import timedelta
from html import unescape
from typing import Any

import pytest
import redis
from celery import Celery
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone

from maintenance.models import Run, RunState, Trigger
from tests.admin_clients import ClientFactory
from tests.ledger_rows import finished_run

RUN_NOW = "/admin/maintenance/run/run-now/"
TRIM = {"target": "main"}


def page(run: Run) -> str:
    return f"/admin/maintenance/run/{run.id}/change/"


@pytest.fixture(autouse=True)
def redis_target(settings: Any) -> None:
    """Name the Redis target by an address that shows, with a password that must not."""
    main = {"url": "redis://crew:very-secret@cache.example:6379/0", "role": "streams"}
    settings.MAINTENANCE = {**settings.MAINTENANCE, "redis": {"main": main}}


def errors_of(answer: Any) -> str:
    return str(answer.context["form"].errors)


def test_the_choice_separates_tasks_that_read_from_those_that_write(operator: Client) -> None:
    answer = operator.get(RUN_NOW)

    (_, reading), (_, writing) = answer.context["groups"]
    assert "check_disk_space" in {task["name"] for task in reading}
    assert "trim_streams" in {task["name"] for task in writing}
    text = answer.content.decode()
    assert "Cut every stream that has grown past its limit." in text
    assert "?task=trim_streams" in text


def test_whoever_may_only_read_is_offered_what_reads(client_with: ClientFactory) -> None:
    client = client_with("view_run", "run_reading_task")

    text = client.get(RUN_NOW).content.decode()

    assert "?task=check_disk_space" in text
    assert "?task=trim_streams" not in text


def test_without_any_permission_there_is_no_button_and_a_sentence_says_why(
    client_with: ClientFactory,
) -> None:
    client = client_with("view_run")

    assert RUN_NOW not in client.get("/admin/maintenance/run/").content.decode()
    assert RUN_NOW not in client.get("/admin/maintenance/").content.decode()
    answer = client.get(RUN_NOW)
    assert answer.status_code == 403
    assert "You may not run tasks that only read." in answer.content.decode()
    assert "Can run tasks that only read" in answer.content.decode()


def test_a_task_that_writes_is_refused_without_its_permission(client_with: ClientFactory) -> None:
    client = client_with("view_run", "run_reading_task")
    url = f"{RUN_NOW}?task=trim_streams"

    for answer in (client.get(url), client.post(url, {"target": "main", "confirmed": "yes"})):
        assert answer.status_code == 403
        assert "You may not run tasks that write to a target." in answer.content.decode()
    assert not Run.objects.exists()


def test_an_unknown_task_gets_a_suggestion(operator: Client) -> None:
    answer = operator.get(f"{RUN_NOW}?task=trim_steams")

    assert answer.status_code == 404
    assert "Did you mean &quot;trim_streams&quot;?" in answer.content.decode()


def test_the_form_has_the_options_of_the_task_and_the_target_of_the_link(
    operator: Client,
) -> None:
    form = operator.get(f"{RUN_NOW}?task=trim_streams&target=main").context["form"]

    assert list(form.fields) == ["target", "option-families", "option-dry_run"]
    assert form.fields["target"].choices == [("main", "main")]
    assert form["target"].initial == "main"


def test_a_failed_run_is_tried_again_with_what_it_was_given(
    operator: Client, client_with: ClientFactory
) -> None:
    failed = finished_run("vacuum_analyze", "default", state=RunState.FAILED, reason="away")
    Run.objects.filter(id=failed.id).update(options={"mode": "all", "tables": ["public.a"]})
    page = operator.get(f"/admin/maintenance/run/{failed.id}/change/").content.decode()
    [link] = re.findall(r'href="([^"]*run-now[^"]*)">Retry</a>', page)
    link = link.replace("&amp;", "&")

    form = operator.get(link).content.decode()
    assert '<option value="all" selected>' in form
    assert "public.a</textarea>" in form

    stranger = client_with("run_writing_task", username="bob")
    assert "public.a</textarea>" not in stranger.get(link).content.decode()
    other = link.replace("vacuum_analyze", "trim_streams")
    assert "public.a" not in operator.get(other).content.decode()


def test_dry_run_is_ticked_for_a_task_that_writes(operator: Client) -> None:
    text = operator.get(f"{RUN_NOW}?task=trim_streams").content.decode()

    box = text.partition('<input type="checkbox" name="option-dry_run"')[2].partition(">")[0]
    assert " checked" in box


def test_an_unknown_target_in_the_link_is_said(operator: Client) -> None:
    text = operator.get(f"{RUN_NOW}?task=trim_streams&target=mian").content.decode()

    assert "There is no target “mian” for this task." in text


def test_a_task_without_a_configured_target_says_what_to_configure(operator: Client) -> None:
    text = operator.get(f"{RUN_NOW}?task=check_queue_depths").content.decode()

    assert "no broker target is configured" in text
    assert "“brokers”" in text
    assert 'value="Run now"' not in text


def test_a_reading_task_starts_at_once_in_the_name_of_the_person(
    operator: Client, celery_setup_app: Celery
) -> None:
    answer = operator.post(f"{RUN_NOW}?task=check_disk_space", {"target": "local"})

    run = Run.objects.get()
    assert answer.headers["Location"] == f"/admin/maintenance/run/{run.id}/change/"
    assert (run.task, run.target) == ("maintenance.check_disk_space", "local")
    assert (run.trigger, run.actor) == (Trigger.ADMIN, "ann")
    assert (run.state, run.published_at is not None) == (RunState.QUEUED, True)
    assert waiting_messages(celery_setup_app, "high") == 1


def test_the_admin_log_tells_who_ran_what(operator: Client, celery_setup_app: Celery) -> None:
    operator.post(f"{RUN_NOW}?task=check_disk_space", {"target": "local"})

    entry = LogEntry.objects.get()
    run = Run.objects.get()
    assert (entry.user.get_username(), entry.object_id) == ("ann", str(run.id))
    assert entry.change_message == "Run by hand."
    history = operator.get(f"/admin/maintenance/run/{run.id}/history/")
    assert "Run by hand." in history.content.decode()


def test_a_dry_run_needs_no_confirmation(operator: Client, celery_setup_app: Celery) -> None:
    answer = operator.post(
        f"{RUN_NOW}?task=trim_streams",
        {"target": "main", "option-families": "home\n\n", "option-dry_run": "on"},
    )

    assert answer.status_code == 302
    assert Run.objects.get().options == {"families": ["home"], "dry_run": True}


def test_writing_for_real_is_confirmed_first_and_says_on_what(operator: Client) -> None:
    answer = operator.post(f"{RUN_NOW}?task=trim_streams", {"target": "main"})

    text = answer.content.decode()
    assert "Cut every stream that has grown past its limit." in text
    assert "redis://cache.example:6379/0" in text
    assert "very-secret" not in text
    assert "Yes, run it for real" in text
    assert not Run.objects.exists()


def test_the_confirmation_carries_the_options_and_starts_the_run(
    operator: Client, celery_setup_app: Celery
) -> None:
    asked = operator.post(
        f"{RUN_NOW}?task=trim_streams", {"target": "main", "option-families": "home"}
    )
    hidden = {
        field.html_name: field.value()
        for field in asked.context["form"]
        if field.value() is not None
    }

    answer = operator.post(f"{RUN_NOW}?task=trim_streams", {**hidden, "confirmed": "yes"})

    assert answer.status_code == 302
    assert Run.objects.get().options == {"families": ["home"], "dry_run": False}


def test_the_way_back_from_the_confirmation_keeps_what_was_entered(operator: Client) -> None:
    answer = operator.post(
        f"{RUN_NOW}?task=trim_streams",
        {"target": "main", "option-families": "home", "change": "yes"},
    )

    assert answer.context["form"]["option-families"].value() == "home"
    assert "Run now" in answer.content.decode()
    assert not Run.objects.exists()


# --- From the plan to the run ---


def planned_run(**options: Any) -> Run:
    """Write a dry run of trim_streams that has shown its plan."""
    run = finished_run("trim_streams", "main", summary="8 members would be removed.")
    run.options = {"dry_run": True, **options}
    run.save(update_fields=["options"])
    return run


def fields_of_offer(text: str) -> dict[str, str]:
    """Return what the form beside a plan sends."""
    form = text.partition("maintenance-offer")[2].partition("</form>")[0]
    return dict(re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', form))


def test_writing_can_be_preceded_by_its_plan(operator: Client, celery_setup_app: Celery) -> None:
    text = operator.post(f"{RUN_NOW}?task=trim_streams", TRIM).content.decode()
    assert 'name="plan_first"' in text

    operator.post(f"{RUN_NOW}?task=trim_streams", {**TRIM, "plan_first": "yes"})

    assert Run.objects.get().options == {"dry_run": True}


def test_a_plan_is_confirmed_with_the_same_options(
    operator: Client, celery_setup_app: Celery
) -> None:
    plan = planned_run(families=["home", 'odd " name'])
    text = operator.get(page(plan)).content.decode()
    assert "This is a plan: nothing was changed" in text
    assert "Confirm: run it for real" in text
    sent = {name: unescape(value) for name, value in fields_of_offer(text).items()}
    assert sent["plan"] == str(plan.id)

    answer = operator.post(f"{RUN_NOW}?task=trim_streams", {**sent, "confirmed": "yes"})

    run = Run.objects.exclude(id=plan.id).get()
    assert answer.headers["Location"] == page(run)
    assert run.options == {"families": ["home", 'odd " name'], "dry_run": False}
    assert str(plan.id) in LogEntry.objects.get().change_message


@pytest.mark.parametrize("age", [timedelta(hours=2), None])
def test_an_old_plan_is_made_anew_and_not_confirmed(operator: Client, age: timedelta) -> None:
    plan = planned_run()
    if age is None:  # the task has run since
        finished_run("trim_streams", "main")
    else:
        Run.objects.filter(id=plan.id).update(finished_at=timezone.now() - age)

    text = operator.get(page(plan)).content.decode()

    assert "what it saw may have changed since" in text
    assert f"run={plan.id}" in text
    assert "Confirm: run it for real" not in text


@pytest.mark.parametrize("change", ["old", "run since", "other options", "no plan at all"])
def test_a_plan_that_holds_no_more_is_not_carried_out_by_a_page_left_open(
    operator: Client, celery_setup_app: Celery, change: str
) -> None:
    plan = planned_run(families=["home"])
    sent = fields_of_offer(operator.get(page(plan)).content.decode())
    if change == "old":
        Run.objects.update(finished_at=timezone.now() - timedelta(minutes=61))
    elif change == "run since":
        finished_run("trim_streams", "main")
    elif change == "other options":
        sent["option-families"] = "home\nnotifications"
    else:
        sent["plan"] = "anything"
    before = Run.objects.count()

    text = operator.post(f"{RUN_NOW}?task=trim_streams", {**sent, "confirmed": "yes"})

    assert "It has not started: the plan that you have seen" in text.content.decode()
    assert 'name="plan"' not in text.content.decode()
    assert "tick the box first" not in text.content.decode()
    assert Run.objects.count() == before
    sent.pop("plan")
    operator.post(f"{RUN_NOW}?task=trim_streams", {**sent, "confirmed": "yes"})
    assert Run.objects.count() == before + 1
    assert "plan" not in LogEntry.objects.get().change_message


def test_whoever_may_not_write_is_offered_nothing(client_with: ClientFactory) -> None:
    plan = planned_run()
    viewer = client_with("view_run", "run_reading_task", username="vic")

    assert "maintenance-offer" not in viewer.get(page(plan)).content.decode()


def test_a_run_that_was_no_dry_run_is_offered_nothing(operator: Client) -> None:
    run = finished_run("trim_streams", "main")

    assert "maintenance-offer" not in operator.get(page(run)).content.decode()


def test_a_task_that_writes_and_has_no_dry_run_is_always_confirmed(operator: Client) -> None:
    answer = operator.post(f"{RUN_NOW}?task=wait_at_gate", {"option-gate": "/nowhere"})

    assert "Yes, run it for real" in answer.content.decode()
    assert not Run.objects.exists()


@pytest.mark.parametrize(
    ("task", "given", "said"),
    [
        ("note_high", {"option-number": "seven"}, "Enter a whole number."),
        ("check_disk_space", {"target": "loacl"}, "is not one of the available choices"),
    ],
)
def test_faults_are_shown_in_the_form_and_nothing_runs(
    operator: Client, task: str, given: dict[str, str], said: str
) -> None:
    answer = operator.post(f"{RUN_NOW}?task={task}", given)

    assert answer.status_code == 200
    assert said in errors_of(answer)
    assert not Run.objects.exists()


def test_while_the_broker_is_away_the_run_is_kept_and_the_person_told(
    operator: Client, celery_setup_app: Celery, default_redis_broker: Any
) -> None:
    default_redis_broker.kill()

    answer = operator.post(f"{RUN_NOW}?task=check_disk_space", {"target": "local"}, follow=True)

    run = Run.objects.get()
    assert (run.state, run.published_at) == (RunState.QUEUED, None)
    assert "The broker does not answer." in answer.content.decode()


def waiting_messages(app: Celery, queue: str) -> int:
    prefix = app.conf.broker_transport_options.get("global_keyprefix", "")
    with redis.Redis.from_url(app.conf.broker_url) as client:
        return int(client.llen(f"{prefix}{queue}"))
