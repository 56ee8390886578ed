"""The three groups that the migration makes, and what people in them may do."""

from collections.abc import Callable
from datetime import timedelta
from importlib import import_module

import pytest
from celery import Celery
from django.apps import apps
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client

from maintenance.conf import configuration
from maintenance.core.scheduling.schedule_sync import sync_schedules
from maintenance.models import Run, RunState, ScheduleRow
from tests.ledger_rows import finished_run, queued_run

pytestmark = pytest.mark.django_db

ROLES = import_module("maintenance.migrations.0007_roles")
RUN_NOW = "/admin/maintenance/run/run-now/"
SCHEDULES = "/admin/maintenance/schedulerow/"
DISK = "maintenance: weekly check_disk_space on local"

LogIn = Callable[[str], Client]


@pytest.fixture(autouse=True)
def roles(db: None) -> None:
    """Tests that truncate all tables take away what the migration made."""
    with connection.schema_editor() as editor:
        ROLES._make_roles(apps, editor)
    sync_schedules(configuration())


@pytest.fixture
def log_in() -> LogIn:
    """Log in a member of staff who is in one group and has nothing else."""

    def logged_in(role: str) -> Client:
        person = User.objects.create_user(role, is_staff=True)
        person.groups.add(Group.objects.get(name=f"Maintenance {role}"))
        client = Client()
        client.force_login(person)
        return client

    return logged_in


@pytest.mark.parametrize(
    ("role", "may"),
    [
        ("viewer", set()),
        ("operator", {"read", "write", "cancel", "pause", "resume", "blackout"}),
        (
            "administrator",
            {"read", "write", "harm", "cancel", "pause", "resume", "blackout", "policy"},
        ),
    ],
)
def test_a_role_may_what_it_says(log_in: LogIn, role: str, may: set[str]) -> None:
    client = log_in(role)
    finished_run(summary="12 % of the disk are used.", age=timedelta(minutes=1))
    waiting = queued_run()

    def status(url: str) -> int:
        return client.get(url).status_code

    assert "12 % of the disk are used." in client.get("/admin/maintenance/").content.decode()
    for page in (
        "run",
        "storedfinding",
        "schedulerow",
        "schedulepolicy",
        "blackout",
        "acceptedtarget",
    ):
        assert status(f"/admin/maintenance/{page}/") == 200, page
    schedule = ScheduleRow.objects.get(name=DISK)
    plan = finished_run("trim_streams", "main")
    Run.objects.filter(id=plan.id).update(options={"dry_run": True})
    pages = {
        "read": f"{RUN_NOW}?task=check_disk_space",
        "write": f"{RUN_NOW}?task=trim_streams",
        "harm": f"{RUN_NOW}?task=vacuum_full",
        "cancel": f"/admin/maintenance/run/{waiting.id}/cancel/",
        "pause": f"{SCHEDULES}{schedule.pk}/pause/",
        "resume": f"{SCHEDULES}{schedule.pk}/resume/",
        "blackout": "/admin/maintenance/blackout/add/",
        "policy": f"/admin/maintenance/schedulepolicy/add/?row={schedule.pk}",
        "target": "/admin/maintenance/acceptedtarget/",
    }
    answers = {what: status(url) for what, url in pages.items()}
    assert answers == {what: 200 if what in may | {"target"} else 403 for what in pages}
    for url in (
        f"/admin/maintenance/run/{plan.id}/change/",
        f"/admin/maintenance/run/{waiting.id}/progress/",
        f"/admin/maintenance/run/progress/?run={waiting.id}",
        f"{SCHEDULES}calendar/",
        f"{SCHEDULES}calendar.ics",
        f"/admin/maintenance/run/{plan.id}/report/json/",
    ):
        assert status(url) == 200, url
    shown = client.get(f"/admin/maintenance/run/{plan.id}/change/").content.decode()
    assert ("Confirm: run it for real" in shown) == ("write" in may)
    line = client.get(SCHEDULES).content.decode()
    assert ("Run now" in line, "Pause:" in line) == ("read" in may, "pause" in may)


@pytest.mark.parametrize("role", ["viewer", "operator", "administrator"])
def test_an_action_is_done_and_logged_or_refused_and_leaves_nothing(
    log_in: LogIn, role: str, celery_setup_app: Celery
) -> None:
    client = log_in(role)
    waiting = queued_run("vacuum_analyze", "default")
    schedule = ScheduleRow.objects.get(name=DISK)
    before = Run.objects.count()
    actions = (
        (f"{RUN_NOW}?task=check_disk_space", {"target": "local"}),
        (f"/admin/maintenance/run/{waiting.id}/cancel/", {}),
        (f"{SCHEDULES}{schedule.pk}/pause/", {"confirmed": "yes", "reason": "a new disk"}),
        (f"{SCHEDULES}{schedule.pk}/resume/", {}),
        (
            SCHEDULES,
            {"action": "run_selected", "_selected_action": schedule.pk, "confirmed": "yes"},
        ),
    )
    for url, sent in actions:
        client.post(url, sent)

    log = list(LogEntry.objects.order_by("action_time").values_list("change_message", flat=True))
    state = Run.objects.get(id=waiting.id).state
    if role == "viewer":
        assert (log, Run.objects.count(), state) == ([], before, RunState.QUEUED)
    else:
        assert log == [
            "Run by hand.",
            "Cancel requested.",
            "Paused: a new disk",
            "Resumed.",
            "Run by hand.",
        ]
        assert (Run.objects.count(), state) == (before + 2, RunState.CANCELLED)


def test_what_an_operator_made_of_a_role_stays() -> None:
    viewers = Group.objects.get(name="Maintenance viewer")
    viewers.permissions.clear()
    Group.objects.get(name="Maintenance operator").delete()

    with connection.schema_editor() as editor:
        ROLES._make_roles(apps, editor)

    assert not viewers.permissions.exists()
    made = Group.objects.get(name="Maintenance operator").permissions
    assert made.count() == len(ROLES.ROLES["Maintenance operator"])
