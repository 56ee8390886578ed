"""Digests: what changed, what needs a person, and what nobody can say is well."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from maintenance.core.attention.mutes import mute
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.runs import ledger
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import task_named
from maintenance.models import (
    Leader,
    Notification,
    Run,
    RunState,
    StoredFinding,
    StoredSample,
    Trigger,
)
from maintenance.notifications.message import Message
from tests.ledger_rows import finished_run, warning

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
def notifications(settings: Any) -> None:
    """One recipient; django's own mail outbox."""
    chosen = {"recipients": ["ops@example.org"], "base_url": "https://ops.example.org"}
    settings.MAINTENANCE = {**settings.MAINTENANCE, "notifications": chosen}


@pytest.fixture
def leading() -> None:
    """A scheduler that leads and has just said so, with a schedule to lead."""
    from django_celery_beat.models import IntervalSchedule, PeriodicTask

    now = timezone.now()
    Leader.objects.create(
        name="scheduler",
        holder="beat@tests",
        since=now,
        expires_at=now + timedelta(minutes=5),
        ticked_at=now,
    )
    hourly = IntervalSchedule.objects.create(every=1, period="hours")
    PeriodicTask.objects.create(name="any", task="any.task", interval=hourly)


def written(period: str = "daily") -> tuple[Run, Message]:
    """Write a digest as a worker would; return its run and what is to be sent."""
    origin = Origin(Trigger.CLI, actor="tests")
    run = work_here(ledger.create_run(task_named("send_digest"), "", {"period": period}, origin))
    assert run.state == RunState.SUCCEEDED, run.reason
    row = Notification.objects.get(key=f"digest:{run.id.hex}")
    return run, Message.from_json(row.content)


def test_a_digest_without_anything_to_say_is_one_sentence(leading: None) -> None:
    finished_run()
    _run, message = written()

    assert message.subject == "Daily digest: all is well"
    assert message.text.startswith("All is well: 1 check of 1 target, the last at ")
    assert "NEW" not in message.text


def test_nothing_that_was_not_looked_at_is_called_well() -> None:
    _run, message = written()

    assert message.subject == "Daily digest: nothing looked at yet"
    assert "nobody can say whether all is well" in message.text
    assert "all is well." not in message.text.replace("whether all is well.", "")


def test_what_is_new_still_there_fixed_and_not_looked_at_has_its_part(leading: None) -> None:
    old = warning("/old", "The old disk is 85 % full.")
    gone = warning("/gone", "The other disk is 85 % full.")
    finished_run(findings=[old, gone])
    written()
    new = Finding(
        "disk-space", Severity.CRITICAL, "/new", "The new disk is 99 % full.", advice="Go."
    )
    finished_run(findings=[old, new, unavailable("disk-space", "/secret", "used space", "a right")])
    finished_run("vacuum_analyze", "default", state=RunState.FAILED, reason="The server is away.")
    run, message = written()

    assert message.subject == "Daily digest: 1 critical, 1 warning, 1 new"
    new_part, rest = message.text.split("STILL THERE")
    still, rest = rest.split("COULD NOT BE LOOKED AT")
    unseen, fixed = rest.split("FIXED")
    assert "* CRITICAL: The new disk is 99 % full.\n  Go." in new_part
    assert "* WARNING: The old disk is 85 % full." in still
    assert "unavailable: used space needs a right" in unseen
    assert "* The other disk is 85 % full. (local)" in fixed
    row = StoredFinding.objects.filter(subject="/new").get()
    assert f"/run/{row.run_id}/change/#finding-{row.fingerprint}" in message.text
    assert f"/run/{row.run_id}/change/#finding-{row.fingerprint}" in message.html
    assert ledger.stored_document(run).report.facts["fixed_count"] == 1


def test_a_schedule_whose_target_is_gone_is_named_until_it_is_off(leading: None) -> None:
    from django_celery_beat.models import PeriodicTask

    sentence = 'Unknown redis target "gone".'
    failed = Finding("run-failed", Severity.CRITICAL, "gone", sentence)
    run = finished_run("trim_streams", "gone", findings=[failed], state=RunState.FAILED)
    Run.objects.filter(id=run.id).update(schedule="any")
    finished_run()
    _run, message = written()

    assert message.subject == "Daily digest: 1 thing could not be looked at"
    assert f"* trim_streams on gone failed: {sentence}" in message.text
    PeriodicTask.objects.filter(name="any").update(enabled=False)
    assert "gone" not in written()[1].text


def note(number: int) -> Finding:
    return Finding("note", Severity.INFO, f"thing {number}", f"Thing {number} is as it is.")


def test_no_number_of_newer_notes_hides_what_is_critical(
    leading: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maintenance.notifications.digest_look.MOST_FINDINGS", 3)
    full = Finding("disk-space", Severity.CRITICAL, "/", "The disk is 99 % full.")
    finished_run(findings=[full])
    finished_run("vacuum_analyze", "default", findings=[note(number) for number in range(5)])
    _run, message = written()

    assert message.subject == "Daily digest: 1 critical, 1 new"
    assert "not counted" not in message.text


def test_a_digest_says_how_many_findings_it_does_not_count(
    leading: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maintenance.notifications.digest_look.MOST_FINDINGS", 3)
    full = Finding("disk-space", Severity.CRITICAL, "/", "The disk is 99 % full.")
    finished_run(findings=[full])
    many = [warning(f"/{number}") for number in range(5)]
    finished_run("vacuum_analyze", "default", findings=many)
    _run, message = written()

    assert message.subject.startswith("Daily digest: 1 critical, 2+ warnings, 3+ new")
    assert "1 critical, 2+ warnings, 3+ new." in message.text
    said = "3 more findings are not counted here, none of them worse: see the list of findings."
    assert said in message.text
    assert said in message.html


def test_what_came_back_is_not_called_fixed_whatever_else_there_is(
    leading: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maintenance.notifications.digest_look.MOST_FINDINGS", 1)
    finished_run(findings=[warning("/back"), warning("/gone", "The other disk is full.")])
    finished_run()
    finished_run(findings=[warning("/back")])
    full = Finding("disk-space", Severity.CRITICAL, "/", "The disk is 99 % full.")
    finished_run("vacuum_analyze", "default", findings=[full])
    _run, message = written()

    fixed = message.text.split("FIXED")[1]
    assert "* The other disk is full. (local)" in fixed
    assert "85 %" not in fixed


def test_a_muted_finding_that_goes_away_is_no_news(leading: None) -> None:
    finished_run(findings=[warning(), warning("/gone", "The other disk is full.")])
    written()
    muted = StoredFinding.objects.get(subject="/var")
    mute(muted, reason="known", by="ann", until=None, endless=True)
    finished_run()
    _run, message = written()

    assert message.subject == "Daily digest: 1 fixed"
    assert "* The other disk is full. (local)" in message.text
    assert muted.sentence not in message.text


def test_a_muted_finding_counts_for_nothing_and_is_counted(leading: None) -> None:
    finished_run(findings=[warning()])
    mute(StoredFinding.objects.get(), reason="known", by="ann", until=None, endless=True)
    _run, message = written()

    assert message.subject == "Daily digest: all is well"
    assert "1 finding is muted and not listed here." in message.text


def test_a_digest_that_nobody_wants_is_skipped_with_the_reason(settings: Any) -> None:
    settings.MAINTENANCE = {
        **settings.MAINTENANCE,
        "notifications": {"recipients": ["ops@example.org"], "digests": ["daily"]},
    }
    origin = Origin(Trigger.CLI, actor="tests")
    run = work_here(ledger.create_run(task_named("send_digest"), "", {"period": "weekly"}, origin))

    assert run.state == RunState.SKIPPED
    assert "does not name the weekly one" in run.reason


def test_a_metric_that_misses_its_target_is_drawn_inside_of_the_mail(leading: None) -> None:
    run = finished_run("review_database_cache_hit_ratio", "default")
    for day in range(8):
        StoredSample.objects.create(
            run=run,
            target="default",
            metric="database_cache_hit_ratio",
            value=0.99 - day * 0.05,
            measured_at=timezone.now() - timedelta(days=60 - 7 * day),
        )
    _run, message = written("weekly")

    assert "misses its target: over 95 %" in message.text.replace("95.0", "95")
    assert "█" in message.text
    ((name, picture),) = message.pictures.items()
    assert f'src="cid:{name}"' in message.html
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")


def test_hostile_names_stay_text(leading: None) -> None:
    odd = 'a"b<script>alert(1)</script>%s{{ x }}'
    finished_run(findings=[warning(odd, f"{odd} is full.")])
    _run, message = written()

    assert "<script>" not in message.html
    assert f"{odd} is full." in message.text
