"""Alarms, digests and tests, from a finding to a mail that a server took."""

import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from maintenance.core.attention.liveness_alarms import note_liveness
from maintenance.core.attention.mutes import mute
from maintenance.core.finding_life import Mute
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.reports import Report
from maintenance.core.runs import ledger
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.runs.registry import task_named
from maintenance.models import (
    Alarm,
    MutedFinding,
    Notification,
    NotificationState,
    Run,
    RunState,
    StoredFinding,
    Trigger,
)
from maintenance.notifications.delivery import write_test
from tests.ledger_rows import finished_run, warning
from tests.mail_server import MailServer, mail_server

pytestmark = pytest.mark.django_db(transaction=True)

PASSWORD = "very-secret-password"


@pytest.fixture
def mails(settings: Any) -> Iterator[MailServer]:
    """A mail server that the site sends through, and one recipient."""
    with mail_server() as server:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", server.port
        settings.EMAIL_HOST_PASSWORD = PASSWORD
        configure(settings)
        yield server


def configure(settings: Any, **more: Any) -> None:
    notifications = {
        "recipients": ["ops@example.org"],
        "sender": "crew@example.org",
        "base_url": "https://ops.example.org",
        **more,
    }
    settings.MAINTENANCE = {**settings.MAINTENANCE, "notifications": notifications}


def critical(subject: str = "/var", sentence: str = "The disk is 99 % full.") -> Finding:
    return Finding("disk-space", Severity.CRITICAL, subject, sentence, advice="Make room.")


def deliver() -> Run:
    """Carry out the run that sends, as a worker would."""
    queued = Run.objects.filter(task="maintenance.send_notifications", state=RunState.QUEUED)
    run = queued.first()
    if run is None:
        origin = Origin(Trigger.CLI, actor="tests")
        run = ledger.create_run(task_named("send_notifications"), "", {}, origin)
    return work_here(run)


def text_of(mail: Any) -> str:
    return str(mail.get_body(("plain",)).get_content()).replace("\r\n", "\n")


def html_of(mail: Any) -> str:
    return str(mail.get_body(("html",)).get_content())


# --- Alarms ---


def test_a_critical_finding_is_one_mail_and_its_end_another(mails: MailServer) -> None:
    first = finished_run(findings=[critical()])
    deliver()
    finished_run(findings=[critical(sentence="The disk is 99.5 % full.")])
    deliver()
    finished_run()
    deliver()
    deliver()

    assert mails.subjects == [
        "Critical: disk-space on local (/var)",
        "Resolved: disk-space on local (/var)",
    ]
    alarm, over = mails.mails
    assert "CRITICAL: The disk is 99 % full.\nWhat to do: Make room." in text_of(alarm)
    finding = StoredFinding.objects.get(run=first)
    place = (
        f"https://ops.example.org/admin/maintenance/run/{first.id}/change/"
        f"#finding-{finding.fingerprint}"
    )
    assert place in text_of(alarm)
    assert place in html_of(alarm)
    assert "RESOLVED after" in text_of(over)
    assert (alarm["From"], alarm["To"]) == ("crew@example.org", "ops@example.org")
    assert alarm["Auto-Submitted"] == "auto-generated"


def test_nobody_is_told_of_a_warning_at_once(mails: MailServer) -> None:
    finished_run(findings=[warning()])
    deliver()

    assert mails.mails == []
    assert not Alarm.objects.exists()


def test_nothing_is_written_where_nobody_is_to_be_told() -> None:
    finished_run(findings=[critical()])

    assert not Alarm.objects.exists()
    assert not Notification.objects.exists()
    assert deliver().reason == "not configured: [notifications] names nobody who is to be told"


def test_a_run_that_could_not_look_resolves_nothing(mails: MailServer) -> None:
    finished_run(findings=[critical()])
    finished_run(state=RunState.FAILED, reason="away")
    finished_run(state=RunState.SKIPPED, reason="not now")
    finished_run(findings=[unavailable("disk-space", "/var", "used space", "a right")])

    assert Alarm.objects.get(code="disk-space").resolved_at is None
    finished_run()
    assert Alarm.objects.get(code="disk-space").resolved_at is not None


def test_a_failure_is_an_alarm_until_the_next_success(mails: MailServer) -> None:
    failing = ledger.create_run(
        task_named("reach_in_vain"), "main", {}, Origin(Trigger.CLI, actor="tests")
    )
    work_here(failing)
    deliver()

    assert mails.subjects == ["Critical: run-failed on main"]
    assert PASSWORD not in text_of(mails.mails[0])


def retention(*findings: Finding, state: RunState = RunState.SUCCEEDED, **options: Any) -> Run:
    """Write a run of a task that has a dry run and no target."""
    return finished_run("trim_reports", "", findings=findings, state=state, options=options)


def failed_retention(**options: Any) -> Run:
    broken = Finding("run-failed", Severity.CRITICAL, "site", "The disk is read-only.")
    return retention(broken, state=RunState.FAILED, **options)


@pytest.mark.parametrize("options", [{"dry_run": False}, {"dry_run": True}, {}])
def test_any_success_that_is_no_dry_run_ends_the_alarm_of_a_failure(
    mails: MailServer, options: dict[str, bool]
) -> None:
    failed_retention(**options)
    deliver()
    retention()
    deliver()
    failed_retention()

    assert mails.subjects == ["Critical: run-failed (site)", "Resolved: run-failed (site)"]
    assert Alarm.objects.get(resolved_at=None).raised_at > Alarm.objects.earliest("id").raised_at


def test_a_dry_run_that_works_ends_no_alarm_of_a_failure(mails: MailServer) -> None:
    failed_retention()
    retention(dry_run=True)

    assert Alarm.objects.get().resolved_at is None


def test_options_that_mean_the_same_are_the_same(mails: MailServer) -> None:
    retention(critical(), dry_run=False)
    assert Alarm.objects.get().resolved_at is None
    retention()

    assert Alarm.objects.get().resolved_at is not None


def numbered(*findings: Finding, **options: int) -> Run:
    return finished_run("note_low", "", findings=findings, options=options)


def test_an_open_alarm_of_runs_with_other_options_silences_nobody(
    mails: MailServer, settings: Any
) -> None:
    configure(settings, alarm_period_minutes=1)
    numbered()
    numbered(critical(), number=7)
    deliver()
    numbered()
    assert Alarm.objects.get().resolved_at is None, "they say nothing of the others"

    Notification.objects.update(sent_at=ledger_now() - timedelta(minutes=2))
    found = numbered(critical(sentence="The disk is full here, too."))
    deliver()
    numbered(critical(), number=7)
    numbered(critical())
    deliver()

    assert mails.subjects == ["Critical: disk-space (/var)"] * 2
    assert "full here, too" in text_of(mails.mails[1])
    assert Alarm.objects.get().run_id == found.id
    numbered()
    deliver()
    assert mails.subjects[2:] == ["Resolved: disk-space (/var)"]


def test_an_alarm_that_eases_and_gets_worse_again_is_told_again(
    mails: MailServer, settings: Any
) -> None:
    configure(settings, alarm_severity="warning")
    for findings in ([critical()], [warning()], [warning()]):
        finished_run(findings=findings)
        deliver()
    assert mails.subjects == ["Critical: disk-space on local (/var)"], "what eases is no news"
    assert Alarm.objects.get().severity == Severity.WARNING.value

    Notification.objects.update(sent_at=ledger_now() - timedelta(hours=2))
    for _ in range(2):
        finished_run(findings=[critical()])
        deliver()
    assert mails.subjects == ["Critical: disk-space on local (/var)"] * 2


def test_an_alarm_that_goes_to_and_fro_waits_for_its_period(
    mails: MailServer, settings: Any
) -> None:
    configure(settings, alarm_severity="warning")
    for findings in ([warning()], [critical()], [warning()], [critical()]):
        finished_run(findings=findings)
        deliver()

    told = ["Warning: disk-space on local (/var)", "Critical: disk-space on local (/var)"]
    assert mails.subjects == told
    held = Notification.objects.get(state=NotificationState.PENDING)
    assert held.due_at > ledger_now() + timedelta(minutes=58)
    finished_run(findings=[warning()])
    Notification.objects.update(due_at=ledger_now())
    deliver()
    assert mails.subjects == told, "what was held back is over, and no news"


def test_what_eases_before_it_is_told_again_waits_for_the_period_too(
    mails: MailServer, settings: Any
) -> None:
    configure(settings, alarm_severity="warning")
    for findings in ([critical()], [], [critical()], [warning()], [], [critical()], [warning()]):
        finished_run(findings=findings)
        deliver()

    told = ["Critical: disk-space on local (/var)", "Resolved: disk-space on local (/var)"]
    assert mails.subjects == told
    Notification.objects.filter(state=NotificationState.PENDING).update(due_at=ledger_now())
    deliver()
    assert mails.subjects == [*told, "Warning: disk-space on local (/var)"]


def test_what_eased_before_anybody_was_told_is_told_as_it_is(
    mails: MailServer, settings: Any
) -> None:
    configure(settings, alarm_severity="warning")
    finished_run(findings=[critical()])
    finished_run(findings=[warning()])
    deliver()

    assert mails.subjects == ["Warning: disk-space on local (/var)"]


def test_what_waits_yet_is_not_told_twice_as_it_is_found_by_others(mails: MailServer) -> None:
    numbered()
    numbered(critical(), number=7)
    numbered()
    numbered(critical(sentence="The disk is full here, too."))
    deliver()

    assert mails.subjects == ["Critical: disk-space (/var)"]
    assert "full here, too" in text_of(mails.mails[0])


def test_an_alarm_that_is_told_again_waits_for_its_period(mails: MailServer) -> None:
    numbered(critical(), number=7)
    deliver()
    numbered()
    numbered(critical())
    deliver()

    assert mails.subjects == ["Critical: disk-space (/var)"]
    held = Notification.objects.get(state=NotificationState.PENDING)
    assert timedelta(minutes=58) < held.due_at - ledger_now() < timedelta(minutes=60)
    numbered()
    deliver()
    assert mails.subjects[1:] == ["Resolved: disk-space (/var)"]


def test_a_mail_server_that_is_down_holds_up_no_run_and_loses_nothing(
    mails: MailServer, settings: Any
) -> None:
    settings.EMAIL_PORT = 1
    run = finished_run(findings=[critical()])
    sending = deliver()

    assert run.state == RunState.SUCCEEDED
    assert sending.state == RunState.SUCCEEDED
    (finding,) = ledger.stored_document(sending).report.findings
    assert finding.code == "notification-unsent"
    assert "Nothing can be sent to mail: The mail server cannot be used" in finding.sentence
    assert "1 message waits, until" in finding.sentence
    waiting = Notification.objects.get()
    assert (waiting.state, waiting.attempts) == (NotificationState.PENDING, 1)
    assert waiting.due_at > ledger_now()

    settings.EMAIL_PORT = mails.port
    Notification.objects.update(due_at=ledger_now())
    deliver()
    assert mails.subjects == ["Critical: disk-space on local (/var)"]


def test_a_refused_mail_is_tried_for_a_day_and_then_given_up(mails: MailServer) -> None:
    mails.refusal = "451 try later"
    finished_run(findings=[critical()])
    deliver()
    Notification.objects.update(
        due_at=ledger_now(), first_attempt_at=ledger_now() - timedelta(days=1, minutes=1)
    )
    report = ledger.stored_document(deliver()).report

    assert Notification.objects.get().state == NotificationState.FAILED
    assert "451 try later" in Notification.objects.get().reason
    assert "1 message given up" in report.summary


def test_what_a_dead_sender_left_behind_is_sent_again_under_the_same_id(
    mails: MailServer,
) -> None:
    finished_run(findings=[critical()])
    deliver()
    # As if the worker had died between the server's answer and the note of it.
    left = {"state": NotificationState.SENDING, "sent_at": None, "taken_by": []}
    Notification.objects.update(**left, claimed_until=ledger_now() + timedelta(minutes=1))
    deliver()
    assert len(mails.mails) == 1
    Notification.objects.update(claimed_until=ledger_now() - timedelta(seconds=1))
    deliver()

    assert len(mails.mails) == 2
    assert len({mail["Message-ID"] for mail in mails.mails}) == 1


def test_a_finding_that_comes_and_goes_is_told_once_in_its_period(mails: MailServer) -> None:
    for findings in ([critical()], [], [critical()], [], [critical()]):
        finished_run(findings=findings)
        deliver()

    assert mails.subjects == [
        "Critical: disk-space on local (/var)",
        "Resolved: disk-space on local (/var)",
    ]
    held = Notification.objects.get(state=NotificationState.PENDING)
    assert timedelta(minutes=58) < held.due_at - ledger_now() < timedelta(minutes=60)
    Notification.objects.filter(id=held.id).update(due_at=ledger_now())
    deliver()
    assert len(mails.mails) == 3


def test_above_the_cap_an_hour_brings_one_summary_more(mails: MailServer, settings: Any) -> None:
    configure(settings, alarms_per_hour=2)
    finished_run(findings=[critical(f"/disk{n}") for n in range(5)])
    deliver()

    assert len(mails.mails) == 3
    assert mails.subjects[-1] == "3 more alarms in the last hour"
    assert text_of(mails.mails[-1]).count("CRITICAL: The disk is 99 % full.") == 3
    finished_run(findings=[critical(f"/disk{n}") for n in range(7)])
    report = ledger.stored_document(deliver()).report
    assert len(mails.mails) == 3
    assert "2 alarms held back until the hour has passed" in report.summary


def test_a_muted_finding_raises_no_alarm_until_it_gets_worse(mails: MailServer) -> None:
    finished_run(findings=[warning()])
    row = StoredFinding.objects.get()
    until = ledger_now() + timedelta(days=3)
    mute(row, reason="a new disk is ordered", by="ann", until=until)
    finished_run(findings=[warning()])
    deliver()
    assert mails.mails == []

    finished_run(findings=[critical()])
    deliver()
    assert mails.subjects == ["Critical: disk-space on local (/var)"]
    assert MutedFinding.objects.get().mute == Mute(
        Severity.WARNING, "a new disk is ordered", "ann", until
    )


def test_muting_a_critical_finding_ends_its_alarm_without_a_message(mails: MailServer) -> None:
    finished_run(findings=[critical()])
    mute(StoredFinding.objects.get(), reason="known", by="ann", until=None, endless=True)
    deliver()
    finished_run(findings=[critical()])
    deliver()

    assert mails.mails == []
    assert Alarm.objects.get().resolution == "It is muted."


def test_a_scheduler_that_is_silent_is_an_alarm_of_whoever_looks(mails: MailServer) -> None:
    silent = Finding(
        "leader-silent", Severity.CRITICAL, "scheduler", "Beat is silent: nothing is sent."
    )
    overdue = [
        Finding(
            "schedule-overdue", Severity.CRITICAL, name, f"{name} was not sent.", advice="Start."
        )
        for name in ("a", "b")
    ]
    reports = [
        Report("Scheduler", silent.sentence, findings=(silent,)),
        Report("Schedules", "2 of 9 schedules are overdue.", findings=tuple(overdue)),
    ]
    note_liveness(reports)
    note_liveness(reports)
    deliver()
    assert sorted(mails.subjects) == [
        "Critical: leader-silent (scheduler)",
        "Critical: schedule-overdue (schedules)",
    ]

    note_liveness([Report("Scheduler", "Leads.")])
    deliver()
    assert len(mails.mails) == 4


def test_a_test_message_is_not_tried_again(mails: MailServer) -> None:
    write_test("ann")
    deliver()
    assert mails.subjects == ["Test: messages arrive"]
    assert "asked for by ann" in text_of(mails.mails[0])

    mails.refusal = "550 no"
    write_test("ann")
    deliver()
    assert Notification.objects.filter(state=NotificationState.FAILED).count() == 1


def test_channels_fail_apart(mails: MailServer, settings: Any, monkeypatch: Any) -> None:
    monkeypatch.setenv("OPS_CHAT", "json://user:hidden-token@127.0.0.1:1/")
    configure(settings, apprise={"chat": "env:OPS_CHAT"})
    finished_run(findings=[critical()])
    report = ledger.stored_document(deliver()).report

    assert len(mails.mails) == 1
    states = dict(Notification.objects.values_list("channel", "state"))
    assert states == {"mail": NotificationState.SENT, "apprise.chat": NotificationState.PENDING}
    assert "hidden-token" not in str(report.to_json()) + str(list(Notification.objects.values()))


def test_apprise_carries_an_alarm_and_says_no_secret(
    settings: Any, monkeypatch: Any, caplog: pytest.LogCaptureFixture
) -> None:
    got: list[dict[str, Any]] = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200 if len(got) < 2 else 500)
            self.end_headers()

        def log_message(self, *_words: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Hook) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        url = f"json://user:hidden-token@127.0.0.1:{server.server_address[1]}/"
        monkeypatch.setenv("OPS_CHAT", url)
        configure(settings, recipients=[], apprise={"chat": "env:OPS_CHAT"})
        finished_run(findings=[critical("/a"), critical("/b")])
        report = ledger.stored_document(deliver()).report
        server.shutdown()

    assert got[0]["title"] == "Critical: disk-space on local (/a)"
    assert "The disk is 99 % full." in got[0]["message"]
    (finding,) = report.findings
    assert "its service did not take the message" in finding.sentence
    assert "hidden-token" not in caplog.text + str(report.to_json())
