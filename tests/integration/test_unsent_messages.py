"""Messages that do not leave, or reach some people only: what becomes of them, and who hears of it."""

import json
import threading
from collections.abc import Container, Iterator
from contextlib import contextmanager
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from apprise.decorators import notify
from apprise.manager_plugins import NotificationManager
from celery.exceptions import SoftTimeLimitExceeded
from django.core.mail.backends.base import BaseEmailBackend

from maintenance.core.attention.delivering import is_due
from maintenance.core.attention.liveness_alarms import note_liveness
from maintenance.core.attention.mutes import mute
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report
from maintenance.core.runs import ledger
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.registry import task_named
from maintenance.models import (
    Notification,
    NotificationKind,
    NotificationState,
    RunState,
    StoredFinding,
    Trigger,
)
from maintenance.notifications import delivery
from maintenance.notifications.delivery import write_test
from tests.integration.test_notifications import configure, critical, deliver
from tests.ledger_rows import finished_run, warning
from tests.mail_server import MailServer, mail_server
from tests.soft_limits import Strike

pytestmark = pytest.mark.django_db(transaction=True)

PENDING, SENT = NotificationState.PENDING, NotificationState.SENT


@pytest.fixture
def mails(settings: Any) -> Iterator[MailServer]:
    """A mail server that the site sends through, and one recipient."""
    with mail_server() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        configure(settings)
        yield server


class CutShort(BaseEmailBackend):
    """Stands for a mail server over which the soft time limit of the run strikes."""

    def send_messages(self, _messages: Any) -> int:
        """Raise what Celery raises then."""
        raise SoftTimeLimitExceeded


@contextmanager
def chat(refused: Container[str] = ()) -> Iterator[tuple[str, list[str]]]:
    """Run a chat; yield the URL under which Apprise reaches it, and the titles that it took.

    Messages for rooms, which are paths or topics, are taken with the room's name, but for those ``refused``.
    """
    got: list[str] = []

    class Room(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            message = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            room = message.get("topic") or self.path.strip("/")
            if room not in refused:
                got.append(f"{room} {message['title']}".strip())
            self.send_response(500 if room in refused else 200)
            self.end_headers()

        def log_message(self, *_words: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Room) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield f"json://127.0.0.1:{server.server_address[1]}/", got
        server.shutdown()


def delivered() -> Report:
    """Send what is due; return the report of the run that did."""
    run = deliver()
    assert run.state == RunState.SUCCEEDED, run.reason
    return ledger.stored_document(run).report


def reason_of(channel: str) -> str:
    """Return why the one message that waits for this channel was not sent."""
    return Notification.objects.get(channel=channel, state=PENDING).reason


# --- What is no answer of a server ---


def test_a_mail_backend_that_is_not_there_holds_up_no_chat(
    settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings.EMAIL_BACKEND = "nowhere.Backend"
    with chat() as (url, got):
        monkeypatch.setenv("OPS_CHAT", url)
        configure(settings, apprise={"chat": "env:OPS_CHAT"})
        finished_run(findings=[critical()])
        report = delivered()

    assert got == ["Critical: disk-space on local (/var)"]
    assert "No module named 'nowhere'" in reason_of("mail")
    assert [finding.subject for finding in report.findings] == ["mail"]


def test_a_template_that_is_broken_fails_its_message_and_no_run(
    mails: MailServer, settings: Any, tmp_path: Path
) -> None:
    broken = tmp_path / "maintenance" / "mail" / "alarm.txt"
    broken.parent.mkdir(parents=True)
    broken.write_text("{% nothing_like_it %}", encoding="utf-8")
    settings.TEMPLATES = [{**settings.TEMPLATES[0], "DIRS": [tmp_path]}]
    finished_run(findings=[critical()])
    report = delivered()

    assert "It cannot be put into words: TemplateSyntaxError" in reason_of("mail")
    assert "1 message waits, until" in report.summary
    assert mails.connections == 0


def test_a_time_limit_ends_the_run_and_is_no_fault_of_the_mail_server(settings: Any) -> None:
    settings.EMAIL_BACKEND = f"{__name__}.CutShort"
    configure(settings)
    finished_run(findings=[critical()])
    run = deliver()

    assert (run.state, run.reason) == (
        RunState.FAILED,
        "Stopped at its time limit of 600 seconds.",
    )
    waiting = Notification.objects.get()
    assert (waiting.state, waiting.reason) == (NotificationState.SENDING, "")


def test_a_time_limit_in_the_midst_of_a_chat_is_no_fault_of_the_chat(
    strike: Strike, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPS_CHAT", "lasting://chat")
    configure(settings, recipients=[], apprise={"chat": "env:OPS_CHAT"})

    @notify(on="lasting")
    def last(*_arguments: Any, **_named: Any) -> bool:
        strike()
        return True

    try:
        finished_run(findings=[critical()])
        run = deliver()
    finally:
        NotificationManager().remove("lasting")

    assert (run.state, run.reason) == (
        RunState.FAILED,
        "Stopped at its time limit of 600 seconds.",
    )
    waiting = Notification.objects.get()
    assert (waiting.state, waiting.reason) == (NotificationState.SENDING, "")


# --- More at once than one run reads ---


def test_the_cap_holds_for_more_alarms_than_one_run_reads(
    mails: MailServer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "MOST_AT_ONCE", 4)
    configure(settings, alarms_per_hour=2)
    finished_run(findings=[critical(f"/disk{n}") for n in range(8)])
    delivered()

    assert len([subject for subject in mails.subjects if subject.startswith("Critical")]) == 2
    assert mails.subjects[2:] == ["6 more alarms in the last hour"]
    assert not Notification.objects.filter(state=PENDING).exists()


def test_what_a_dead_sender_left_is_held_back_like_the_rest(
    mails: MailServer, settings: Any
) -> None:
    configure(settings, alarms_per_hour=1)
    finished_run(findings=[critical(f"/disk{n}") for n in range(2)])
    delivered()
    finished_run(findings=[critical(f"/disk{n}") for n in range(3)])
    Notification.objects.filter(state=PENDING).update(
        state=NotificationState.SENDING, claimed_until=ledger_now()
    )
    report = delivered()

    assert "1 alarm held back until the hour has passed" in report.summary
    assert len(mails.mails) == 2
    assert Notification.objects.get(title__contains="/disk2").state == PENDING
    assert not is_due()


# --- Alarms that nobody was told of ---


def give_up(mails: MailServer, refusal: str = "451 try later") -> None:
    """Let the mail server refuse what waits until it is given up, and then take mail again."""
    mails.refusal = refusal
    delivered()
    a_day_ago = ledger_now() - timedelta(days=1)
    Notification.objects.filter(state=PENDING, attempts__gt=0).update(
        due_at=ledger_now(), first_attempt_at=a_day_ago
    )
    delivered()
    mails.refusal = ""


def test_an_alarm_that_was_given_up_is_told_once_it_is_found_again(mails: MailServer) -> None:
    finished_run(findings=[critical()])
    give_up(mails)
    assert Notification.objects.get().state == NotificationState.FAILED

    finished_run(findings=[critical()])
    finished_run(findings=[critical()])
    delivered()
    finished_run(findings=[critical()])
    delivered()

    assert mails.subjects == ["Critical: disk-space on local (/var)"]
    assert Notification.objects.count() == 2


def test_what_was_given_up_is_named_until_the_channel_has_taken_it(mails: MailServer) -> None:
    finished_run(findings=[critical()])
    give_up(mails)

    (finding,) = delivered().findings
    assert (finding.code, finding.severity) == ("notification-given-up", Severity.WARNING)
    assert finding.sentence.startswith(
        '1 message to mail was given up, the last one "Critical: disk-space on local (/var)": '
    )
    write_test("ann")
    delivered()
    delivered()

    assert mails.subjects == ["Test: messages arrive", "Critical: disk-space on local (/var)"]
    assert not delivered().findings


def test_what_was_given_up_and_is_muted_since_is_neither_named_nor_told(mails: MailServer) -> None:
    finished_run(findings=[critical()])
    give_up(mails)
    mute(
        StoredFinding.objects.get(code="disk-space"),
        reason="known",
        by="ann",
        until=None,
        endless=True,
    )

    for _ in range(2):
        write_test("ann")
        assert not delivered().findings

    assert mails.subjects == ["Test: messages arrive"] * 2
    assert Notification.objects.filter(kind=NotificationKind.ALARM).count() == 1


def test_the_end_of_an_alarm_that_was_given_up_is_named_for_a_week(mails: MailServer) -> None:
    finished_run(findings=[critical()])
    delivered()
    finished_run()
    give_up(mails)
    assert delivered().findings

    Notification.objects.update(created_at=ledger_now() - timedelta(days=8))
    assert not delivered().findings


def test_an_alarm_of_the_scheduler_that_was_given_up_is_told_again(mails: MailServer) -> None:
    silent = Finding("leader-silent", Severity.CRITICAL, "scheduler", "Beat is silent.")
    reports = [Report("Scheduler", silent.sentence, findings=(silent,))]
    note_liveness(reports)
    give_up(mails)
    note_liveness(reports)
    note_liveness(reports)
    delivered()

    assert mails.subjects == ["Critical: leader-silent (scheduler)"]


def test_an_alarm_that_gets_worse_is_told_although_it_was_told_before(
    mails: MailServer, settings: Any
) -> None:
    configure(settings, alarm_severity="warning")
    finished_run(findings=[warning()])
    delivered()
    finished_run(findings=[critical()])
    give_up(mails)
    finished_run(findings=[critical()])
    delivered()

    assert mails.subjects == [
        "Warning: disk-space on local (/var)",
        "Critical: disk-space on local (/var)",
    ]


def test_a_message_has_a_day_from_its_first_attempt(mails: MailServer) -> None:
    finished_run(findings=[critical()])
    # As if no worker had been there, or the alarm's period had held it back.
    Notification.objects.update(created_at=ledger_now() - timedelta(days=2))
    mails.refusal = "451 try later"
    delivered()

    assert "451 try later" in reason_of("mail")


def test_what_a_sender_without_a_channel_dropped_is_told_there_again(
    mails: MailServer, settings: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    with chat() as (url, got):
        monkeypatch.setenv("OPS_CHAT", url)
        configure(settings, apprise={"chat": "env:OPS_CHAT"})
        finished_run(findings=[critical()])
        configure(settings)
        delivered()
        assert not got

        configure(settings, apprise={"chat": "env:OPS_CHAT"})
        finished_run(findings=[critical()])
        delivered()

    assert got == mails.subjects == ["Critical: disk-space on local (/var)"]


def test_alarms_of_a_summary_that_was_given_up_are_told_again(
    mails: MailServer, settings: Any
) -> None:
    configure(settings, alarms_per_hour=1)
    found = [critical(f"/disk{n}") for n in range(3)]
    finished_run(findings=found)
    Notification.objects.filter(title__contains="/disk0").update(state=SENT, sent_at=ledger_now())
    give_up(mails)
    configure(settings)
    finished_run(findings=found)
    delivered()

    assert sorted(mails.subjects) == [
        "Critical: disk-space on local (/disk1)",
        "Critical: disk-space on local (/disk2)",
    ]


def test_who_was_told_of_an_open_alarm_is_not_forgotten(mails: MailServer) -> None:
    finished_run(findings=[critical()])
    delivered()
    Notification.objects.update(created_at=ledger_now() - timedelta(days=1000))
    origin = Origin(Trigger.CLI, actor="tests")
    work_here(ledger.create_run(task_named("trim_reports"), "", {}, origin))
    finished_run(findings=[critical()])
    delivered()

    assert len(mails.mails) == 1


# --- Some are reached, and some are not ---


def test_a_recipient_that_is_refused_is_named_and_the_others_get_one_copy(
    mails: MailServer, settings: Any
) -> None:
    configure(settings, recipients=["gone@example.org", "ops@example.org", "ann@example.org"])
    mails.refused = {"gone@example.org": "450 no such user yet"}
    finished_run(findings=[critical("/a"), critical("/b")])
    report = delivered()

    assert mails.recipients == ["ops@example.org", "ann@example.org"] * 2
    (finding,) = report.findings
    assert finding.sentence.startswith(
        "Not everybody on mail is reached: gone@example.org: The mail server said 450 no such user yet"
    )
    assert set(Notification.objects.values_list("state", flat=True)) == {PENDING}
    assert {mail["To"] for mail in mails.mails} == {
        "gone@example.org, ops@example.org, ann@example.org"
    }

    mails.refused = {}
    Notification.objects.update(due_at=ledger_now())
    delivered()
    assert mails.recipients[4:] == ["gone@example.org"] * 2
    assert set(Notification.objects.values_list("state", "reason")) == {(SENT, "")}
    assert len({mail["Message-ID"] for mail in mails.mails}) == 2


def test_a_server_that_takes_nothing_is_asked_once_for_all_recipients(
    mails: MailServer, settings: Any
) -> None:
    configure(settings, recipients=["gone@example.org", "ops@example.org", "ann@example.org"])
    mails.refusal = "421 too busy"
    finished_run(findings=[critical("/a")])
    delivered()

    assert mails.connections == 1


def test_what_somebody_got_is_sent_after_a_day_and_not_told_again(
    mails: MailServer, settings: Any
) -> None:
    configure(settings, recipients=["gone@example.org", "ops@example.org"])
    mails.refused = {"gone@example.org": "550 no such user"}
    finished_run(findings=[critical()])
    delivered()
    Notification.objects.update(
        due_at=ledger_now(), first_attempt_at=ledger_now() - timedelta(days=1)
    )
    delivered()
    row = Notification.objects.get()
    assert (row.state, row.reason) == (
        SENT,
        "gone@example.org: The mail server said 550 no such user",
    )

    finished_run(findings=[critical()])
    delivered()
    assert mails.recipients == ["ops@example.org"]


def test_what_waits_for_one_recipient_uses_up_the_cap(mails: MailServer, settings: Any) -> None:
    recipients = ["gone@example.org", "ops@example.org"]
    configure(settings, recipients=recipients, alarms_per_hour=2)
    mails.refused = {"gone@example.org": "450 not yet"}
    finished_run(findings=[critical("/a"), critical("/b")])
    delivered()
    finished_run(findings=[critical("/a"), critical("/b"), critical("/c")])
    delivered()

    assert mails.subjects[2:] == ["1 more alarm in the last hour"]


def test_a_test_message_that_one_recipient_is_refused_has_failed(
    mails: MailServer, settings: Any
) -> None:
    configure(settings, recipients=["gone@example.org", "ops@example.org"])
    mails.refused = {"gone@example.org": "550 no such user"}
    write_test("ann")
    delivered()

    assert mails.recipients == ["ops@example.org"]
    row = Notification.objects.get()
    assert row.state == NotificationState.FAILED
    assert "gone@example.org" in row.reason


@pytest.mark.parametrize(
    "urls",
    ["json://{0}/one, json://{0}/two, json://{0}/three", "ntfy://{0}/one/two/three"],
    ids=["several URLs", "several addresses of one"],
)
def test_an_address_of_a_chat_that_is_wrong_floods_no_other(
    settings: Any, monkeypatch: pytest.MonkeyPatch, urls: str
) -> None:
    refused = {"two"}
    with chat(refused) as (url, got):
        monkeypatch.setenv("OPS_CHAT", urls.format(url.removeprefix("json://").strip("/")))
        configure(settings, recipients=[], apprise={"chat": "env:OPS_CHAT"})
        finished_run(findings=[critical()])
        report = delivered()
        for _attempt in range(2):
            Notification.objects.update(due_at=ledger_now())
            delivered()
        told = "Critical: disk-space on local (/var)"
        assert sorted(got) == [f"one {told}", f"three {told}"]

        refused.clear()
        Notification.objects.update(due_at=ledger_now())
        delivered()

    assert got[2:] == [f"two {told}"]
    (finding,) = report.findings
    assert finding.sentence.startswith(
        "Not everybody on apprise.chat is reached: Apprise could not"
    )
    assert ") of 3; its service did not take the message." in finding.sentence
    row = Notification.objects.get()
    assert (row.state, row.reason, len(row.taken_by)) == (SENT, "", 3)
    assert "127.0.0.1" not in str(row.taken_by) + str(report.to_json())
