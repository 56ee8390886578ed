"""What a site may have set that an empty project has not: a login for every page, requests in transactions,
a user class of its own, and names as long as an address."""

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from django.contrib.auth.models import User
from django.db import connections
from django.http import HttpRequest, HttpResponseBase
from django.test import Client
from django.urls import reverse

from maintenance.conf import configuration
from maintenance.core.scheduling.schedule_sync import sync_schedules
from maintenance.models import (
    AcceptedTarget,
    MutedFinding,
    Run,
    SchedulePolicy,
    ScheduleRow,
    StoredFinding,
)
from maintenance.urls import app_name, urlpatterns
from tests.admin_clients import ClientFactory
from tests.ledger_rows import finished_run, running_run, warning

pytestmark = pytest.mark.django_db

RUN_NOW = "/admin/maintenance/run/run-now/"
DISK = f"{RUN_NOW}?task=check_disk_space"
TOKEN = "0123456789abcdef" * 2
ARGUMENTS = {"run_id": uuid.UUID(int=1), "name": "disk"}


# --- A login for every page --------------------------------------------------------------------


@pytest.fixture
def login_for_every_page(settings: Any) -> None:
    """Switch on what closes every view that does not say otherwise."""
    closing = "django.contrib.auth.middleware.LoginRequiredMiddleware"
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, closing]


def addresses() -> dict[str, str]:
    """Return an address for each page of ``maintenance.urls``, by its name."""
    found = {}
    for entry in urlpatterns:
        given = {name: ARGUMENTS[name] for name in entry.pattern.converters}
        found[str(entry.name)] = reverse(f"{app_name}:{entry.name}", kwargs=given)
    return found


@pytest.mark.usefixtures("login_for_every_page")
@pytest.mark.parametrize("name", addresses())
def test_where_every_page_wants_a_login_those_for_programs_judge_for_themselves(
    settings: Any, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    page, client = addresses()[name], Client(enforce_csrf_checks=True)
    probed = {200, 503} if name == "health" else set()
    assert client.get(page).status_code in (probed or {404})  # no token is configured

    monkeypatch.setenv("A_TOKEN", TOKEN)
    access = dict.fromkeys(("metrics", "read", "run"), "env:A_TOKEN")
    settings.MAINTENANCE = {**settings.MAINTENANCE, "access": access}
    assert client.get(page).status_code in (probed or {401})
    assert client.post(page).status_code in {401, 403, 405}


@pytest.mark.usefixtures("login_for_every_page")
def test_where_every_page_wants_a_login_the_admin_is_closed_as_ever() -> None:
    assert Client().get("/admin/maintenance/run/").status_code == 302


# --- Requests in transactions ------------------------------------------------------------------


@pytest.fixture
def requests_in_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the ledger's database commit once a view has returned."""
    monkeypatch.setitem(connections.settings["default"], "ATOMIC_REQUESTS", True)


@pytest.mark.usefixtures("requests_in_transactions")
def test_where_a_request_is_a_transaction_a_run_that_was_sent_is_not_called_waiting(
    operator: Client, celery_setup_app: Celery
) -> None:
    answer = operator.post(DISK, {"target": "local"}, follow=True)

    assert Run.objects.get().published_at is not None
    assert "The broker does not answer." not in answer.content.decode()


@pytest.mark.usefixtures("requests_in_transactions")
def test_where_a_request_is_a_transaction_a_broker_that_is_away_is_told(
    operator: Client, celery_setup_app: Celery, default_redis_broker: Any
) -> None:
    default_redis_broker.kill()

    answer = operator.post(DISK, {"target": "local"}, follow=True)

    assert Run.objects.get().published_at is None
    assert "The broker does not answer." in answer.content.decode()


# --- A user class of its own -------------------------------------------------------------------


class Keeper:
    """All that Django's admin asks of a user, and no more; its rights are a set."""

    pk = 1
    is_active = is_staff = is_authenticated = True
    is_anonymous = False

    def __init__(self, *held: str) -> None:
        self._held = held

    def has_perm(self, permission: str, _subject: object = None) -> bool:
        return permission in self._held

    def has_module_perms(self, label: str) -> bool:
        return any(permission.startswith(f"{label}.") for permission in self._held)

    def get_username(self) -> str:
        return "keeper"

    get_short_name = get_username

    def has_usable_password(self) -> bool:
        return False


def as_viewer(
    get_response: Callable[[HttpRequest], HttpResponseBase],
) -> Callable[[HttpRequest], HttpResponseBase]:
    """Middleware of a site whose one person may view runs."""

    def middleware(request: HttpRequest) -> HttpResponseBase:
        request.user = Keeper("maintenance.view_run")  # type: ignore[assignment]
        return get_response(request)

    return middleware


@pytest.fixture
def viewer(settings: Any) -> Client:
    settings.MIDDLEWARE = [*settings.MIDDLEWARE, f"{__name__}.as_viewer"]
    return Client()


def test_a_user_class_with_rights_of_its_own_opens_what_it_holds(viewer: Client) -> None:
    run = finished_run(summary="12 % of the disk are used.")

    assert "12 % of the disk are used." in viewer.get("/admin/maintenance/").content.decode()
    assert viewer.get(f"/admin/maintenance/run/progress/?run={run.id}").status_code == 200
    assert viewer.get("/maintenance/health/checks/disk/").status_code in {200, 500}
    refused = viewer.get(RUN_NOW)
    assert refused.status_code == 403
    assert "You may not run tasks that only read." in refused.content.decode()


def test_a_user_class_without_rights_is_no_error_of_health_checks(
    viewer: Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(Keeper, "has_perm")

    assert viewer.get("/maintenance/health/checks/").status_code == 404


# --- Names as long as an address ---------------------------------------------------------------

LONG = f"{'a' * 240}@example.com"


@pytest.fixture
def ada(client_with: ClientFactory, monkeypatch: pytest.MonkeyPatch) -> Client:
    """Somebody who may do all that is noted with a name, and whose name is an address of 252."""
    client = client_with(
        "view_run",
        "run_reading_task",
        "cancel_run",
        "view_schedulerow",
        "change_schedulerow",
        "view_storedfinding",
        "add_mutedfinding",
        "view_acceptedtarget",
        "add_acceptedtarget",
    )
    monkeypatch.setattr(User, "get_username", lambda _user: LONG)
    return client


def test_runs_are_started_and_cancelled_by_somebody_with_a_long_name(
    ada: Client, celery_setup_app: Celery
) -> None:
    ada.post(DISK, {"target": "local"})
    assert Run.objects.get().actor == LONG[:150]

    at_work = running_run("review_activity", "default")
    ada.post(f"/admin/maintenance/run/{at_work.id}/cancel/")
    at_work.refresh_from_db()
    assert (at_work.cancel_requested, at_work.cancel_actor) == (True, LONG[:150])


def test_a_long_name_pauses_a_schedule_and_mutes_a_finding(ada: Client) -> None:
    sync_schedules(configuration())
    schedule = ScheduleRow.objects.filter(name__contains="check_disk_space").first()
    assert schedule is not None
    ada.post(
        f"/admin/maintenance/schedulerow/{schedule.pk}/pause/",
        {"confirmed": "yes", "reason": "a new disk"},
    )
    finished_run(findings=[warning()])
    key = StoredFinding.objects.get().pk
    ada.post(f"/admin/maintenance/storedfinding/{key}/mute/", {"lasts": "7", "reason": "ordered"})

    assert SchedulePolicy.objects.get(row_id=schedule.pk).paused_by == LONG[:150]
    assert MutedFinding.objects.get().muted_by == LONG[:150]


def test_every_column_of_a_name_is_as_long_as_names_are_cut() -> None:
    columns = (
        (Run, "actor"),
        (Run, "cancel_actor"),
        (SchedulePolicy, "paused_by"),
        (MutedFinding, "muted_by"),
        (AcceptedTarget, "accepted_by"),
    )
    lengths = {model._meta.get_field(name).max_length for model, name in columns}
    assert lengths == {150}
