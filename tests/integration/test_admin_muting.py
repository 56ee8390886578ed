"""Muting in the admin, the list of messages, and what counts afterwards."""

import re
from io import StringIO
from typing import Any

import pytest
from django.contrib.admin.models import LogEntry
from django.contrib.auth.models import Permission, User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from maintenance.core.attention.mutes import mute
from maintenance.core.findings import Finding, Severity
from maintenance.models import (
    MutedFinding,
    Notification,
    NotificationKind,
    NotificationState,
    RunState,
    StoredFinding,
)
from tests.admin_clients import ClientFactory
from tests.ledger_rows import finished_run, warning

FINDINGS = "/admin/maintenance/storedfinding/"
MUTED = "/admin/maintenance/mutedfinding/"
MESSAGES = "/admin/maintenance/notification/"


@pytest.fixture
def keeper(client_with: ClientFactory) -> Client:
    """Somebody who may mute and send tests."""
    return client_with(
        "view_run",
        "view_storedfinding",
        "view_mutedfinding",
        "add_mutedfinding",
        "delete_mutedfinding",
        "view_notification",
        "add_notification",
    )


def mute_page() -> str:
    return f"{FINDINGS}{StoredFinding.objects.latest('id').pk}/mute/"


def text(client: Client, page: str) -> str:
    return client.get(page).content.decode()


def test_the_list_of_what_is_muted_leads_to_unmuting_whoever_may(keeper: Client) -> None:
    finished_run(findings=[warning()])
    keeper.post(mute_page(), {"lasts": "7", "reason": "a new disk is ordered"})
    unmuting = f"{MUTED}{MutedFinding.objects.get().pk}/delete/"
    assert unmuting in text(keeper, MUTED)

    permission = Permission.objects.get(codename="delete_mutedfinding")
    User.objects.get().user_permissions.remove(permission)
    assert unmuting not in text(keeper, MUTED)


@pytest.mark.parametrize(
    "state", [NotificationState.FAILED, NotificationState.DROPPED, NotificationState.SUMMED_UP]
)
def test_a_message_that_was_not_sent_has_no_dash_for_a_time(
    keeper: Client, state: NotificationState
) -> None:
    now = timezone.now()
    Notification.objects.create(
        kind=NotificationKind.ALARM,
        key="alarm:1",
        channel="mail",
        title="Critical: disk-space on local",
        state=state,
        created_at=now,
        due_at=now,
    )

    assert re.findall(r'<td class="field-sent[^>]*>(.*?)</td>', text(keeper, MESSAGES)) == [""]


def command(*words: str) -> tuple[int, str]:
    out = StringIO()
    try:
        call_command("maintenance", *words, stdout=out, stderr=StringIO())
    except SystemExit as end:
        return int(str(end.code)), out.getvalue()
    return 0, out.getvalue()


def test_a_finding_is_muted_after_a_reason_and_a_time_and_the_log_says_so(keeper: Client) -> None:
    run = finished_run(findings=[warning()], summary="1 disk is nearly full.")
    assert "Disk space needs attention" in text(keeper, "/admin/maintenance/")
    assert "The disk is 85 % full." in text(keeper, mute_page())
    assert not MutedFinding.objects.exists()
    assert "This field is required." in keeper.post(mute_page(), {"lasts": "7"}).content.decode()
    keeper.post(mute_page(), {"lasts": "7", "reason": "a new disk is ordered"})

    row = MutedFinding.objects.get()
    assert (row.muted_by, row.reason, row.endless) == ("ann", "a new disk is ordered", False)
    assert "Muted until" in LogEntry.objects.get().change_message
    page = text(keeper, FINDINGS)
    assert "by ann" in page
    assert "a new disk is ordered" in page
    dashboard = text(keeper, "/admin/maintenance/")
    assert "1 finding is muted" in dashboard
    assert "Disk space needs attention" not in dashboard
    assert "1 disk is nearly full. 1 muted." in dashboard
    report = text(keeper, f"/admin/maintenance/run/{run.id}/change/")
    assert "by ann: a new disk is ordered" in report
    assert command("reports", "show", str(run.id))[0] == 0
    code, said = command("findings", "--muted")
    assert code == 0
    assert "by ann: a new disk is ordered" in said

    finished_run(findings=[Finding("disk-space", Severity.CRITICAL, "/var", "It is full.")])
    assert "1 finding is muted" not in text(keeper, "/admin/maintenance/")
    assert command("findings")[0] == 1


def test_unmuting_is_confirmed_and_logged(keeper: Client) -> None:
    finished_run(findings=[warning()])
    keeper.post(mute_page(), {"lasts": "endless", "reason": "known"})
    row = MutedFinding.objects.get()
    assert row.until is None
    assert row.endless

    assert "Are you sure" in text(keeper, f"{MUTED}{row.pk}/delete/")
    keeper.post(f"{MUTED}{row.pk}/delete/", {"post": "yes"})
    assert not MutedFinding.objects.exists()
    assert LogEntry.objects.count() == 2


def test_muting_takes_its_own_permission(operator: Client) -> None:
    finished_run(findings=[warning()])

    assert "/mute/" not in text(operator, FINDINGS)
    answer = operator.post(mute_page(), {"lasts": "7", "reason": "known"})
    assert answer.status_code == 403
    assert "Can add muted finding" in answer.content.decode()
    assert not MutedFinding.objects.exists()


def test_whoever_may_not_look_at_findings_is_shown_none_to_mute(
    client_with: ClientFactory,
) -> None:
    finished_run(findings=[warning()])
    answer = client_with("add_mutedfinding").get(mute_page())

    assert answer.status_code == 403
    assert "Can view finding" in answer.content.decode()
    assert "The disk is 85 % full." not in answer.content.decode()


def test_a_muted_failure_is_not_known_to_be_well(keeper: Client) -> None:
    failure = Finding("run-failed", Severity.CRITICAL, "local", "The server is away.")
    finished_run(state=RunState.FAILED, findings=[failure], summary="Failed: away.")
    keeper.post(mute_page(), {"lasts": "1", "reason": "it moves today"})

    page = text(keeper, "/admin/maintenance/")
    assert "All is well" not in page
    assert "Disk space is healthy" not in page
    assert "last run failed" not in page


def test_lives_are_shown_and_filtered(keeper: Client) -> None:
    finished_run(findings=[warning("/old", "old"), warning("/gone", "gone")])
    run = finished_run(findings=[warning("/old", "old"), warning("/new", "fresh")])

    def shown(query: str) -> list[str]:
        answer = keeper.get(f"{FINDINGS}{query}")
        return [row.sentence for row in answer.context["cl"].result_list]

    assert shown("?life=new") == ["fresh"]
    assert shown("?life=persisting") == ["old"]
    report = text(keeper, f"/admin/maintenance/run/{run.id}/change/")
    assert "persisting since" in report
    assert "Fixed since the run before" in report
    assert "/gone: gone" in report
    assert "gone" in command("findings", "--fixed")[1]


def test_what_is_muted_is_asked_for_by_as_many_conditions_for_any_number(keeper: Client) -> None:
    finished_run("vacuum_analyze", "default", findings=[warning("/other", "of another task")])
    worse = Finding("disk-space", Severity.CRITICAL, "/worse", "worse now")
    finished_run(
        findings=[warning("/worse", "worse before"), *(warning(f"/{n}") for n in range(9))]
    )

    def shown(life: str) -> tuple[set[str], int]:
        """Return the subjects, and the conditions of the longest statement."""
        with CaptureQueriesContext(connection) as asked:
            rows = keeper.get(f"{FINDINGS}?life={life}").context["cl"].result_list
        return {row.subject for row in rows}, max(
            len(re.findall(r"\b(?:AND|OR)\b", each["sql"])) for each in asked
        )

    def mute_all(**which: str) -> None:
        for row in StoredFinding.objects.filter(run__task="maintenance.check_disk_space", **which):
            mute(row, reason="known", by="ann", until=None, endless=True)

    mute_all(subject="/0")
    first, conditions = shown("muted")
    assert first == {"/0"}
    mute_all()
    finished_run(findings=[worse, *(warning(f"/{n}") for n in range(9))])

    assert shown("muted") == ({f"/{n}" for n in range(9)}, conditions)
    assert shown("speaking")[0] == {"/other", "/worse"}


@pytest.mark.django_db
def test_mute_and_unmute_at_the_terminal() -> None:
    finished_run(findings=[warning()])
    name = StoredFinding.objects.get().fingerprint[:8]

    assert command("mute", name, "--days", "3", "--reason", "known")[0] == 0
    assert command("findings")[0] == 0
    assert command("unmute", name)[0] == 0
    assert command("findings")[0] == 1
    with pytest.raises(CommandError, match="No current finding"):
        command("mute", "ffffffff", "--for-good", "--reason", "known")


def test_the_list_of_messages_sends_a_test(keeper: Client, settings: Any) -> None:
    assert "Nobody is told of anything" in text(keeper, MESSAGES)
    chosen = {"recipients": ["ops@example.org"]}
    settings.MAINTENANCE = {**settings.MAINTENANCE, "notifications": chosen}

    assert "ops@example.org" in text(keeper, MESSAGES)
    assert keeper.get(f"{MESSAGES}test/").status_code == 405
    keeper.post(f"{MESSAGES}test/")
    row = Notification.objects.get()
    assert (row.kind, row.content["by"]) == ("test", "ann")
    assert LogEntry.objects.get().change_message == "Test message to mail."
    page = text(keeper, MESSAGES)
    assert "Test: messages arrive" in page
    assert "not before <time " in page


def test_a_test_takes_its_own_permission_and_a_token(client_with: ClientFactory) -> None:
    assert client_with("view_notification").post(f"{MESSAGES}test/").status_code == 403
    strict = Client(enforce_csrf_checks=True)
    strict.cookies = client_with("add_notification", username="bob").cookies
    assert strict.post(f"{MESSAGES}test/").status_code == 403
    assert not Notification.objects.exists()
