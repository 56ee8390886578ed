"""The list of schedules, pause and resume, and running several at once."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from django.contrib import admin
from django.contrib.admin.models import LogEntry
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import CrontabSchedule, PeriodicTask, PeriodicTasks
from pytest_django import DjangoAssertNumQueries

from maintenance.conf import configuration
from maintenance.core.scheduling.schedule_sync import sync_schedules
from maintenance.models import Blackout, Run, RunState, SchedulePolicy
from tests.admin_clients import ClientFactory
from tests.ledger_rows import finished_run, warning

SCHEDULES = "/admin/maintenance/schedulerow/"
DISK = "maintenance: weekly check_disk_space on local"
TRIM = "maintenance: daily trim_streams on main"


@pytest.fixture(autouse=True)
def synced(db: None, settings: Any) -> None:
    """Rows as ``sync_schedules`` writes them, in a timezone that is not UTC."""
    settings.MAINTENANCE = {**settings.MAINTENANCE, "timezone": "Europe/Oslo"}
    sync_schedules(configuration())


def row(name: str) -> PeriodicTask:
    return PeriodicTask.objects.get(name=name)


def line_of(client: Client, name: str) -> str:
    """Return the HTML of the table row of one schedule."""
    text = client.get(SCHEDULES).content.decode()
    return next(
        line
        for line in text.split("<tr>")
        if f'value="{row(name).pk}" class="action-select"' in line
    )


def act(client: Client, action: str, *names: str, **fields: str) -> Any:
    keys = [row(name).pk for name in names]
    return client.post(
        SCHEDULES, {"action": action, "_selected_action": keys, **fields}, follow=True
    )


def test_a_line_says_in_words_what_runs_when_and_on_what(operator: Client) -> None:
    line = line_of(operator, DISK)

    assert "Check disk space" in line
    assert "Monitor disk space usage" in line
    assert "on local" in line
    assert "At 04:20, only on Monday" in line
    assert "Europe/Oslo" in line
    assert "not yet" in line


def test_the_next_run_is_told_from_now_and_in_the_timezone_of_the_row(operator: Client) -> None:
    line = line_of(operator, DISK)

    due = datetime.fromisoformat(line.partition('<time datetime="')[2].partition('"')[0])
    assert (due.weekday(), due.hour, due.minute) == (0, 4, 20)
    assert due.utcoffset() in (timedelta(hours=1), timedelta(hours=2))
    assert timedelta(0) < due - timezone.now() <= timedelta(days=7, hours=1)
    assert "in " in line


def test_a_slot_that_beat_has_missed_is_called_overdue(operator: Client) -> None:
    PeriodicTask.objects.filter(name=DISK).update(last_run_at=datetime(2026, 1, 1, tzinfo=UTC))

    assert "overdue" in line_of(operator, DISK)
    assert "overdue" not in line_of(operator, TRIM)


def test_the_last_run_shows_its_result_and_leads_to_it(operator: Client) -> None:
    finished_run(age=timedelta(days=2))
    run = finished_run(findings=[warning()])

    line = line_of(operator, DISK)

    assert f"/admin/maintenance/run/{run.id}/change/" in line
    assert "maintenance-is-warning" in line


def test_the_list_costs_the_same_few_queries_however_many_rows_there_are(
    operator: Client, django_assert_max_num_queries: DjangoAssertNumQueries
) -> None:
    finished_run()
    rows = PeriodicTask.objects.filter(name__startswith="maintenance: ").count()

    with django_assert_max_num_queries(17):
        text = operator.get(SCHEDULES).content.decode()

    assert rows > 15
    assert text.count('class="field-next_run"') == rows


def test_the_next_five_runs_are_those_that_the_scheduler_will_start(operator: Client) -> None:
    monday = timezone.now() + timedelta(days=(7 - timezone.now().weekday()) % 7 + 7)
    Blackout.objects.create(
        reason="stocktaking",
        starts_at=monday - timedelta(days=2),
        ends_at=monday + timedelta(days=2),
    )
    SchedulePolicy.objects.create(row=row(TRIM), days="last friday")

    weekly, rare = (
        line.partition("<ol>")[2].partition("</ol>")[0]
        for line in (line_of(operator, DISK), line_of(operator, TRIM))
    )

    days, fridays = (
        [datetime.fromisoformat(at) for at in re.findall(r'<time datetime="([^"]+)"', text)]
        for text in (weekly, rare)
    )
    assert [(day.weekday(), day.hour, day.minute) for day in days] == [(0, 4, 20)] * 5
    assert weekly.count("<s><time") == 1
    assert "stocktaking" in weekly
    assert len(fridays) == 5
    assert {day.weekday() for day in fridays} == {4}
    assert all((day + timedelta(days=7)).month != day.month for day in fridays)


def test_the_last_runs_stand_in_a_row_that_is_told_in_words(operator: Client) -> None:
    for day in range(24, 1, -1):
        finished_run(age=timedelta(days=day))
    finished_run(age=timedelta(days=1), findings=[warning()])
    finished_run(state=RunState.FAILED, reason="The disk is gone.")

    line = line_of(operator, DISK)

    label = line.partition('aria-label="Last runs, the newest first: ')[2].partition('"')[0]
    assert label == "failed, warning, 18 × ok"  # noqa: RUF001
    drawing = line.partition('<svg class="maintenance-marks"')[2].partition("</svg>")[0]
    assert drawing.count("<path") == 3, "a shape for each outcome"


def test_one_schedule_is_paused_and_resumed_from_its_line(operator: Client) -> None:
    key = row(DISK).pk
    assert f"{SCHEDULES}{key}/pause/" in line_of(operator, DISK)
    assert "Pause this schedule?" in operator.get(f"{SCHEDULES}{key}/pause/").content.decode()
    operator.post(f"{SCHEDULES}{key}/pause/", {"confirmed": "yes", "reason": "a new disk"})
    assert policy(DISK).pause_reason == "a new disk"
    assert f"{SCHEDULES}{key}/resume/" in line_of(operator, DISK)

    asked = operator.get(f"{SCHEDULES}{key}/resume/").content.decode()
    assert "Paused by ann" in asked
    assert "a new disk" in asked
    assert policy(DISK).paused_at is not None
    operator.post(f"{SCHEDULES}{key}/resume/")

    assert policy(DISK).paused_at is None
    log = LogEntry.objects.order_by("action_time").values_list("change_message", flat=True)
    assert list(log) == ["Paused: a new disk", "Resumed."]


def test_rows_of_other_work_are_not_shown(operator: Client) -> None:
    crontab = CrontabSchedule.objects.create(minute="5")
    PeriodicTask.objects.create(name="send the newsletter", task="news.send", crontab=crontab)
    own = PeriodicTask.objects.create(
        name="extra look", task="maintenance.check_disk_space", crontab=crontab, kwargs="[]"
    )

    text = operator.get(SCHEDULES).content.decode()

    assert "newsletter" not in text
    assert f'value="{own.pk}" class="action-select"' in text
    assert "added by an operator" in text


@pytest.mark.parametrize("name", ["<script>alert(1)</script>", "maintenance: <img src=x>"])
def test_what_an_operator_wrote_into_a_row_is_never_markup(operator: Client, name: str) -> None:
    PeriodicTask.objects.create(
        name=name,
        task="maintenance.<img src=x>",
        description=name,
        crontab=CrontabSchedule.objects.create(minute="5"),
        kwargs=json.dumps({"target": name}),
    )

    text = operator.get(SCHEDULES).content.decode()

    assert "<script>alert" not in text
    assert "<img src=x" not in text


def test_an_edit_is_shown_beside_what_the_code_says(operator: Client) -> None:
    edited = row(DISK)
    edited.crontab = CrontabSchedule.objects.create(
        minute="0", hour="12", day_of_week="3", timezone="Europe/Oslo"
    )
    edited.save()

    line = line_of(operator, DISK)

    assert "At 12:00, only on Wednesday" in line
    assert "edited: cron in the code is 20 4 * * 1" in line
    assert "edited" not in line_of(operator, TRIM)


# --- Pause and resume --------------------------------------------------------------------------


def pause(client: Client, *names: str, reason: str = "the disk is being replaced") -> Any:
    return act(client, "pause", *names, confirmed="yes", reason=reason)


def policy(name: str) -> SchedulePolicy:
    return SchedulePolicy.objects.get(row__name=name)


def test_a_paused_schedule_says_who_paused_it_and_why_and_has_no_next_run(operator: Client) -> None:
    pause(operator, DISK)

    line = line_of(operator, DISK)
    assert "maintenance-is-paused" in line
    assert "the disk is being replaced · ann" in line
    assert "not while paused" in line
    assert "<time" not in line
    assert "maintenance-is-paused" not in line_of(operator, TRIM)


def test_pausing_asks_for_a_reason_before_it_does_anything(operator: Client) -> None:
    for fields in ({}, {"confirmed": "yes"}, {"confirmed": "yes", "reason": " "}):
        text = act(operator, "pause", DISK, **fields).content.decode()
        assert "Pause this schedule?" in text
        assert DISK in text
    assert not SchedulePolicy.objects.exists()


def test_a_pause_stands_beside_the_schedule_and_in_the_admin_log(operator: Client) -> None:
    answer = pause(operator, DISK, TRIM)

    assert "2 schedules are paused." in answer.content.decode()
    assert row(DISK).enabled, "its slots are skipped by the scheduler, not forgotten"
    found = policy(DISK)
    assert (found.paused_by, found.pause_reason) == ("ann", "the disk is being replaced")
    assert found.changed_at is not None
    messages = {entry.change_message for entry in LogEntry.objects.all()}
    assert messages == {"Paused: the disk is being replaced"}


def test_a_second_pause_leaves_the_first_one_as_it_is(
    operator: Client, client_with: ClientFactory
) -> None:
    pause(operator, DISK)
    other = client_with("view_schedulerow", "change_schedulerow", username="bob")

    answer = pause(other, DISK, TRIM, reason="another")

    assert "1 schedule is paused." in answer.content.decode()
    assert (policy(DISK).paused_by, policy(TRIM).paused_by) == ("ann", "bob")


def test_resuming_ends_pauses_and_switches_on_what_is_off(operator: Client) -> None:
    pause(operator, DISK)
    off = row(TRIM)
    off.enabled = False
    off.save()
    assert "maintenance-is-off" in line_of(operator, TRIM)
    assert "not while off" in line_of(operator, TRIM)
    LogEntry.objects.all().delete()
    PeriodicTasks.objects.update(last_update=datetime(2026, 1, 1, tzinfo=UTC))
    others = PeriodicTask.objects.values_list("name", flat=True)[:5]

    answer = act(operator, "resume", *{DISK, TRIM, *others})

    assert "2 schedules are resumed." in answer.content.decode()
    assert policy(DISK).paused_at is None
    assert policy(DISK).pause_reason == ""
    assert row(TRIM).enabled
    assert PeriodicTasks.last_change() > timezone.now() - timedelta(minutes=1)
    assert [entry.change_message for entry in LogEntry.objects.all()] == ["Resumed."] * 2


@pytest.mark.parametrize("way", ["list", "page"])
def test_a_schedule_that_is_off_is_switched_on_by_whoever_may_run_its_task(
    operator: Client, client_with: ClientFactory, way: str
) -> None:
    PeriodicTask.objects.filter(name=TRIM).update(enabled=False, task="maintenance.flush_cache")
    pause(operator, TRIM)
    surgeon = client_with(
        "view_schedulerow", "change_schedulerow", "run_dangerous_task", username="sue"
    )

    def resume(client: Client) -> str:
        if way == "list":
            return str(act(client, "resume", TRIM).content.decode())
        answer = client.post(f"{SCHEDULES}{row(TRIM).pk}/resume/", follow=True)
        return str(answer.content.decode())

    refused = resume(operator)

    assert "stays off: you may not run its task" in refused
    assert not row(TRIM).enabled
    assert policy(TRIM).paused_at is None, "ending a pause starts nothing that is off"
    assert "stays off" not in resume(surgeon)
    assert row(TRIM).enabled


@pytest.mark.parametrize(("state", "expected"), [("paused", DISK), ("off", TRIM)])
def test_schedules_are_found_by_their_state(operator: Client, state: str, expected: str) -> None:
    pause(operator, DISK, TRIM)
    PeriodicTask.objects.filter(name=TRIM).update(enabled=False)

    found = operator.get(SCHEDULES, {"state": state}).context["cl"].result_list
    on = operator.get(SCHEDULES, {"state": "on"}).context["cl"].result_list

    assert [each.name for each in found] == [expected]
    assert not {DISK, TRIM} & {each.name for each in on}
    assert len(on) > 10


@pytest.mark.parametrize(
    ("name", "has_rows"), [("checklist", True), ("state", True), ("task", False)]
)
def test_a_value_that_no_row_can_have_is_no_error(
    operator: Client, name: str, has_rows: bool
) -> None:
    answer = operator.get(SCHEDULES, {name: "\0"})

    assert answer.status_code == 200
    assert bool(answer.context["cl"].result_list) is has_rows


def test_the_policy_of_a_schedule_is_a_link_away(
    operator: Client, client_with: ClientFactory
) -> None:
    key = row(DISK).pk
    keeper = client_with(
        "change_schedulerow", "add_schedulepolicy", "change_schedulepolicy", username="kim"
    )
    assert f"schedulepolicy/add/?row={key}" in line_of(keeper, DISK)
    assert "schedulepolicy" not in line_of(operator, DISK)
    pause(operator, DISK)
    assert f"schedulepolicy/{key}/change/" in line_of(keeper, DISK)


def test_whoever_may_only_look_can_neither_pause_nor_run(client_with: ClientFactory) -> None:
    client = client_with("view_schedulerow")

    text = client.get(SCHEDULES).content.decode()
    pause(client, DISK)
    act(client, "run_selected", DISK, confirmed="yes")
    for way in ("pause", "resume"):
        answer = client.post(
            f"{SCHEDULES}{row(DISK).pk}/{way}/", {"confirmed": "yes", "reason": "x"}
        )
        assert answer.status_code == 403
        assert "You may not pause or resume schedules." in answer.content.decode()

    assert 'name="action"' not in text
    assert "Run now" not in text
    assert not SchedulePolicy.objects.exists()
    assert not Run.objects.exists()


def test_there_is_no_way_to_delete_a_row_here(operator: Client) -> None:
    assert "delete_selected" not in operator.get(SCHEDULES).content.decode()
    assert operator.post(f"{SCHEDULES}{row(DISK).pk}/delete/", {"post": "yes"}).status_code == 403


def test_editing_is_done_on_the_page_of_django_celery_beat(
    operator: Client, client_with: ClientFactory
) -> None:
    key = row(DISK).pk
    edit = f"/admin/django_celery_beat/periodictask/{key}/change/"
    viewer = client_with("view_schedulerow", username="vic")

    assert edit in line_of(operator, DISK)
    assert operator.get(f"{SCHEDULES}{key}/change/").headers["Location"] == edit
    assert edit not in viewer.get(SCHEDULES).content.decode()
    assert viewer.get(f"{SCHEDULES}{key}/change/").headers["Location"] == SCHEDULES
    assert operator.get(f"{SCHEDULES}4711/change/").status_code == 404


def test_the_list_works_where_the_project_has_no_page_for_periodic_tasks(
    operator: Client,
) -> None:
    own_page = admin.site.get_model_admin(PeriodicTask)
    admin.site.unregister(PeriodicTask)
    try:
        line = line_of(operator, DISK)
    finally:
        admin.site.register(PeriodicTask, type(own_page))

    assert "Run now" in line
    assert "Edit" not in line


# --- Run now -----------------------------------------------------------------------------------


def test_a_line_links_to_run_now_with_its_target_and_options(operator: Client) -> None:
    trim = row(TRIM)
    trim.kwargs = json.dumps({"target": "main", "options": {"families": ["home"]}})
    trim.save()

    link = f"/admin/maintenance/run/run-now/?task=trim_streams&target=main&schedule={trim.pk}"
    assert link.replace("&", "&amp;") in line_of(operator, TRIM)
    form = operator.get(link).context["form"]
    assert form["option-families"].value() == "home"
    assert form["option-dry_run"].value() is True


@pytest.mark.parametrize(
    ("rights", "task"),
    [(["run_writing_task"], TRIM), (["run_writing_task", "view_schedulerow"], DISK)],
)
def test_options_of_a_schedule_are_shown_to_who_may_look_at_it_for_its_task(
    client_with: ClientFactory, rights: list[str], task: str
) -> None:
    other = row(task)
    other.kwargs = json.dumps({"target": "main", "options": {"families": ["home"]}})
    other.save()

    page = f"/admin/maintenance/run/run-now/?task=trim_streams&target=main&schedule={other.pk}"
    form = client_with(*rights).get(page).context["form"]
    assert not form["option-families"].value()


def test_running_several_asks_first_and_proposes_a_dry_run(operator: Client) -> None:
    text = act(operator, "run_selected", DISK, TRIM).content.decode()

    assert "Run these 2 now" in text
    assert 'name="dry_run" id="id_dry_run" checked' in text
    assert not Run.objects.exists()


def test_confirmed_they_run_in_the_name_of_the_person(
    operator: Client, celery_setup_app: Celery
) -> None:
    act(operator, "run_selected", DISK, TRIM, confirmed="yes", dry_run="on")

    runs = {run.short_task: run for run in Run.objects.all()}
    assert set(runs) == {"check_disk_space", "trim_streams"}
    assert {run.actor for run in runs.values()} == {"ann"}
    assert runs["trim_streams"].options == {"dry_run": True}
    assert runs["check_disk_space"].options == {}


def test_what_the_person_may_not_run_is_left_out_by_name(
    client_with: ClientFactory, celery_setup_app: Celery
) -> None:
    client = client_with("view_schedulerow", "view_run", "run_reading_task")

    text = act(client, "run_selected", DISK, TRIM).content.decode()
    act(client, "run_selected", DISK, TRIM, confirmed="yes")

    assert "You may not run this task." in text
    assert [run.short_task for run in Run.objects.all()] == ["check_disk_space"]


def test_a_row_of_a_task_that_is_gone_is_left_out_with_the_reason(operator: Client) -> None:
    PeriodicTask.objects.filter(name=DISK).update(task="maintenance.check_disc_space")

    text = act(operator, "run_selected", DISK).content.decode()

    assert "Did you mean &quot;check_disk_space&quot;?" in text
    assert "now</button>" not in text
