"""Policies of schedules and blackouts in the admin, for our own schedules and a site's."""

from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from maintenance.core.scheduling.pausing import pause
from maintenance.models import Blackout, SchedulePolicy
from maintenance.reports.formatting import NO_VALUE
from tests.admin_clients import ClientFactory

POLICIES = "/admin/maintenance/schedulepolicy/"
BLACKOUTS = "/admin/maintenance/blackout/"
ALL = tuple(
    f"{verb}_{model}"
    for verb in ("view", "add", "change", "delete")
    for model in ("schedulepolicy", "blackout")
)


@pytest.fixture
def keeper(client_with: ClientFactory) -> Client:
    """Somebody who may do everything with policies and blackouts, and pause."""
    return client_with(*ALL, "change_schedulerow")


@pytest.fixture
def newsletter(db: None) -> PeriodicTask:
    """A schedule of the site's own."""
    each = IntervalSchedule.objects.create(every=1, period=IntervalSchedule.HOURS)
    row: PeriodicTask = PeriodicTask.objects.create(
        name="send the newsletter", task="news.send", interval=each
    )
    return row


def fields(row: PeriodicTask, **more: Any) -> dict[str, Any]:
    given = {
        "row": row.pk,
        "days": "",
        "misfire": "once",
        "overlap": "skip",
        "jitter_seconds": 0,
        "pause_after_failures": 0,
    }
    return {**given, **more}


def errors(answer: Any) -> dict[str, list[str]]:
    found: dict[str, list[str]] = answer.context["adminform"].form.errors
    return found


def test_a_schedule_of_the_site_gets_a_policy(keeper: Client, newsletter: PeriodicTask) -> None:
    form = keeper.get(f"{POLICIES}add/?row={newsletter.pk}").context["adminform"].form
    assert form.get_initial_for_field(form.fields["row"], "row") == str(newsletter.pk)

    keeper.post(
        f"{POLICIES}add/", fields(newsletter, days="last friday", misfire="skip", jitter_seconds=60)
    )

    policy = SchedulePolicy.objects.get()
    assert (policy.row_id, policy.days, policy.misfire) == (newsletter.pk, "last friday", "skip")
    page = keeper.get(f"{POLICIES}{newsletter.pk}/change/").content.decode()
    assert "send the newsletter" in page


def test_days_that_no_rule_reads_are_refused_with_the_ways_to_write_one(
    keeper: Client, newsletter: PeriodicTask
) -> None:
    answer = keeper.post(f"{POLICIES}add/", fields(newsletter, days="every other day"))
    assert "Write &quot;last&quot;" in answer.content.decode()
    assert set(errors(answer)) == {"days"}
    assert not SchedulePolicy.objects.exists()


def test_a_pause_is_no_field_of_the_form(keeper: Client, newsletter: PeriodicTask) -> None:
    keeper.post(f"{POLICIES}add/", fields(newsletter, paused_by="eve", pause_reason="x"))
    assert SchedulePolicy.objects.get().paused_by == ""


def test_a_schedule_of_the_site_is_paused_and_resumed_in_the_list_of_policies(
    keeper: Client, newsletter: PeriodicTask
) -> None:
    SchedulePolicy.objects.create(row=newsletter)
    chosen = {"action": "pause", "_selected_action": [newsletter.pk]}
    answer = keeper.post(POLICIES, chosen)
    assert "Pause this schedule?" in answer.content.decode()

    keeper.post(POLICIES, {**chosen, "confirmed": "yes", "reason": "holidays"})

    policy = SchedulePolicy.objects.get()
    assert (policy.paused_by, policy.pause_reason) == ("ann", "holidays")
    assert "maintenance-is-paused" in keeper.get(f"{POLICIES}?paused=yes").content.decode()
    keeper.post(POLICIES, {**chosen, "action": "resume"})
    policy.refresh_from_db()
    assert policy.paused_at is None
    assert "maintenance-is-on" in keeper.get(f"{POLICIES}?paused=no").content.decode()


def test_who_may_edit_policies_alone_neither_pauses_nor_resumes(
    client_with: ClientFactory, newsletter: PeriodicTask
) -> None:
    SchedulePolicy.objects.create(row=newsletter)
    editor = client_with(*ALL, username="eve")
    chosen = {"action": "pause", "_selected_action": [newsletter.pk]}

    editor.post(POLICIES, {**chosen, "confirmed": "yes", "reason": "x"})

    assert SchedulePolicy.objects.get().paused_at is None
    pause(newsletter, "ann", "holidays")
    editor.post(POLICIES, {**chosen, "action": "resume"})
    assert SchedulePolicy.objects.get().paused_at is not None


def test_a_schedule_of_the_site_is_switched_on_by_whoever_may_edit_its_row(
    keeper: Client, client_with: ClientFactory, newsletter: PeriodicTask
) -> None:
    PeriodicTask.objects.filter(pk=newsletter.pk).update(enabled=False)
    SchedulePolicy.objects.create(row=newsletter)
    chosen = {"action": "resume", "_selected_action": [newsletter.pk]}

    answer = keeper.post(POLICIES, chosen, follow=True)

    newsletter.refresh_from_db()
    assert "“send the newsletter” stays off" in answer.content.decode()
    assert not newsletter.enabled
    client_with(*ALL, "change_schedulerow", "change_periodictask", username="sue").post(
        POLICIES, chosen
    )
    newsletter.refresh_from_db()
    assert newsletter.enabled


def test_a_policy_tells_of_a_pause_only_where_there_is_one(
    keeper: Client, newsletter: PeriodicTask
) -> None:
    SchedulePolicy.objects.create(row=newsletter, jitter_seconds=90)
    page = f"{POLICIES}{newsletter.pk}/change/"
    assert "Reason of the pause" not in keeper.get(page).content.decode()

    pause(newsletter, "ann", "holidays")

    assert "holidays" in keeper.get(page).content.decode()
    row = keeper.get(POLICIES).content.decode().partition("<tbody>")[2]
    assert "1 min 30 s" in row
    assert NO_VALUE not in row.partition("</tbody>")[0]


def test_whoever_may_only_look_changes_nothing(
    client_with: ClientFactory, newsletter: PeriodicTask
) -> None:
    SchedulePolicy.objects.create(row=newsletter)
    client = client_with("view_schedulepolicy", "view_blackout")
    chosen = {"action": "pause", "_selected_action": [newsletter.pk]}

    client.post(POLICIES, {**chosen, "confirmed": "yes", "reason": "x"})

    assert SchedulePolicy.objects.get().paused_at is None
    change = f"{POLICIES}{newsletter.pk}/change/"
    assert client.get(change).status_code == 200
    assert client.post(change, fields(newsletter, days="last")).status_code == 403
    for url in (f"{POLICIES}add/", f"{BLACKOUTS}add/", f"{POLICIES}{newsletter.pk}/delete/"):
        assert client.get(url).status_code == 403


def blackout(hours: float, length_hours: float = 1, **more: Any) -> dict[str, Any]:
    start = timezone.localtime() + timedelta(hours=hours)
    end = start + timedelta(hours=length_hours)
    return {
        "reason": "stocktaking",
        "starts_at_0": f"{start:%Y-%m-%d}",
        "starts_at_1": f"{start:%H:%M:%S}",
        "ends_at_0": f"{end:%Y-%m-%d}",
        "ends_at_1": f"{end:%H:%M:%S}",
        "target": "",
        **more,
    }


def test_a_blackout_says_whether_it_holds(keeper: Client) -> None:
    for hours in (-5, -0.5, 5):
        keeper.post(f"{BLACKOUTS}add/", blackout(hours, target="main" if hours == 5 else ""))
    text = keeper.get(BLACKOUTS).content.decode()
    kinds = [part.partition('"')[0] for part in text.split("maintenance-badge maintenance-is-")[1:]]
    assert kinds == ["queued", "warning", "off"]
    current = keeper.get(f"{BLACKOUTS}?time=current").context["cl"].result_list
    over = keeper.get(f"{BLACKOUTS}?time=over").context["cl"].result_list
    assert (len(current), len(over)) == (2, 1)
    assert {each.target for each in current} == {"", "main"}


@pytest.mark.parametrize(
    ("given", "field", "sentence"),
    [
        (blackout(1, -1), "ends_at", "It has to end after it begins."),
        (blackout(1, target="mian"), "target", "Select a valid choice."),
        (blackout(1, reason=""), "reason", "This field is required."),
    ],
)
def test_a_blackout_that_would_black_out_nothing_is_refused(
    keeper: Client, given: dict[str, Any], field: str, sentence: str
) -> None:
    answer = keeper.post(f"{BLACKOUTS}add/", given)
    assert sentence in errors(answer)[field][0]
    assert not Blackout.objects.exists()


@pytest.mark.parametrize("at_once", [False, True])
def test_deleting_a_policy_ends_no_pause(
    keeper: Client, newsletter: PeriodicTask, at_once: bool
) -> None:
    keeper.post(f"{POLICIES}add/", fields(newsletter, jitter_seconds=60))
    pause(newsletter, "bob", "the disks move")

    chosen = {"action": "delete_selected", "_selected_action": newsletter.pk}
    address, given = (POLICIES, chosen) if at_once else (f"{POLICIES}{newsletter.pk}/delete/", {})
    answer = keeper.post(address, {**given, "post": "yes"}, follow=True)

    assert "Paused until somebody resumes it: send the newsletter." in answer.content.decode()
    policy = SchedulePolicy.objects.get()
    assert (policy.paused_by, policy.pause_reason) == ("bob", "the disks move")
    assert (policy.jitter_seconds, policy.overlap) == (0, "allow")


def test_deleting_a_policy_brings_the_defaults_back(
    keeper: Client, newsletter: PeriodicTask
) -> None:
    keeper.post(f"{POLICIES}add/", fields(newsletter, jitter_seconds=60))
    keeper.post(f"{POLICIES}{newsletter.pk}/delete/", {"post": "yes"})

    assert not SchedulePolicy.objects.exists()
