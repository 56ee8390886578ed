"""The three groups that the migration makes, and what people in them may do."""

from collections.abc import Callable
from datetime import timedelta
from importlib import import_module

import pytest
from django.apps import apps
from django.contrib.auth.models import Group, User
from django.db import connection
from django.test import Client

from tests.ledger_rows import finished_run, queued_run

pytestmark = pytest.mark.django_db

ROLES = import_module("maintenance.migrations.0007_roles")
RUN_NOW = "/admin/maintenance/run/run-now/"

LogIn = Callable[[str], Client]


@pytest.fixture(autouse=True)
def roles(db: None) -> None:
    """Tests that truncate all tables take away what the migration made."""
    with connection.schema_editor() as editor:
        ROLES._make_roles(apps, editor)


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
        ("operator", {"read", "write", "cancel"}),
        ("administrator", {"read", "write", "harm", "cancel"}),
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
    pages = {
        "read": f"{RUN_NOW}?task=check_disk_space",
        "write": f"{RUN_NOW}?task=trim_streams",
        "harm": f"{RUN_NOW}?task=vacuum_full",
        "cancel": f"/admin/maintenance/run/{waiting.id}/cancel/",
    }
    answers = {what: status(url) for what, url in pages.items()}
    assert answers == {what: 200 if what in may else 403 for what in pages}


def test_what_an_operator_made_of_a_role_stays() -> None:
    viewers = Group.objects.get(name="Maintenance viewer")
    viewers.permissions.clear()
    Group.objects.get(name="Maintenance operator").delete()

    with connection.schema_editor() as editor:
        ROLES._make_roles(apps, editor)

    assert not viewers.permissions.exists()
    made = Group.objects.get(name="Maintenance operator").permissions
    assert made.count() == len(ROLES.ROLES["Maintenance operator"])
