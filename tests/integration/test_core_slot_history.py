"""The proof and the dead man's switch of what real schedulers did, and of what was taken away."""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any

import pytest
from celery import Celery
from django_celery_beat.models import CrontabSchedule, PeriodicTask, SolarSchedule

from maintenance.core.errors import Skipped
from maintenance.core.evidence.liveness import liveness_reports
from maintenance.core.evidence.liveness_look import look
from maintenance.core.evidence.proof import Verdict
from maintenance.core.evidence.proving import prove_slots
from maintenance.core.evidence.slot_history import slot_histories
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.runs.ledger_clock import ledger_now
from maintenance.core.scheduling.pausing import pause
from maintenance.core.scheduling.scheduler import LedgerScheduler
from maintenance.models import Run, RunState, ScheduleVersion

pytestmark = pytest.mark.django_db(transaction=True)

HOUR = timedelta(hours=1)
OURS = "maintenance: hourly note"
FOREIGN = "send the newsletter"
BeatFactory = Callable[[], LedgerScheduler]


@pytest.fixture
def new_beat(celery_setup_app: Celery) -> Iterator[BeatFactory]:
    """Make beats of this process; they give the lead away after the test."""
    made: list[LedgerScheduler] = []

    def make() -> LedgerScheduler:
        made.append(LedgerScheduler(app=celery_setup_app, lazy=False))
        return made[-1]

    yield make
    for beat in made:
        beat.close()


def schedules() -> None:
    """Write an hourly schedule of ours and one of a site's own, far from being due just now."""
    minute = str((ledger_now() + HOUR / 2).minute)
    hours = CrontabSchedule.objects.create(minute=minute, timezone="UTC")
    PeriodicTask.objects.create(name=OURS, task="maintenance.note_low", crontab=hours)
    PeriodicTask.objects.create(name=FOREIGN, task="news.send", crontab=hours)


def rewind(hours: float) -> datetime:
    """Let everything have been taken over so long ago, and no slot been settled since."""
    then = ledger_now() - hours * HOUR
    ScheduleVersion.objects.update(since=then)
    PeriodicTask.objects.update(last_run_at=None)
    return then


def verdicts(since: datetime) -> dict[str, Counter[Verdict]]:
    now = ledger_now()
    histories = slot_histories(since, now, now, fits={OURS, FOREIGN}.__contains__)
    return {each.schedule: Counter(slot.verdict for slot in each.slots) for each in histories}


def missing(since: datetime) -> int:
    return sum(
        counts[Verdict.LOST] + counts[Verdict.OVERDUE] for counts in verdicts(since).values()
    )


def alarms() -> set[str]:
    return {finding.code for report in liveness_reports(look()) for finding in report.findings}


def test_what_a_beat_missed_is_overdue_until_another_settles_it(new_beat: BeatFactory) -> None:
    schedules()
    first = new_beat()
    first.tick()
    assert alarms() == set()
    first.close()

    since = rewind(30)
    assert verdicts(since) == {
        OURS: {Verdict.OVERDUE: 30},
        FOREIGN: {Verdict.OVERDUE: 30},
    }
    assert alarms() == {"schedule-overdue"}

    new_beat().tick()

    found = verdicts(since)
    assert missing(since) == 0
    assert found[OURS] == {Verdict.SKIPPED: 29, Verdict.WAITING: 1}
    assert sum(found[FOREIGN].values()) == 30
    assert alarms() == set()


def test_a_row_that_somebody_deletes_is_lost_for_ever(new_beat: BeatFactory) -> None:
    schedules()
    beat = new_beat()
    beat.tick()
    beat.close()
    since = rewind(5)
    beat = new_beat()
    beat.tick()
    victim = Run.objects.filter(schedule=OURS).order_by("scheduled_for")[2]
    victim.delete()

    beat.tick()

    assert verdicts(since)[OURS][Verdict.LOST] == 1
    assert missing(since) == 1


def test_the_slots_of_a_pause_are_skipped_and_those_of_what_is_off_are_none(
    new_beat: BeatFactory,
) -> None:
    schedules()
    pause(PeriodicTask.objects.get(name=OURS), "ann", "holidays")
    off = PeriodicTask.objects.get(name=FOREIGN)
    off.enabled = False
    off.save()
    beat = new_beat()
    beat.tick()
    beat.close()
    since = rewind(8)
    new_beat().tick()

    assert verdicts(since) == {OURS: {Verdict.SKIPPED: 8}}
    reasons = set(Run.objects.filter(schedule=OURS).values_list("reason", flat=True))
    assert reasons == {"paused by ann: holidays"}
    assert Run.objects.filter(state=RunState.QUEUED).count() == 0
    assert alarms() == {"schedule-paused"}


def test_a_sun_that_nobody_can_compute_stops_neither_beat_nor_proof(
    new_beat: BeatFactory,
) -> None:
    schedules()
    sunset = SolarSchedule.objects.create(event="sunset", latitude=52.5, longitude=13.4)
    PeriodicTask.objects.create(name="at sunset", task="news.send", solar=sunset)
    first = new_beat()
    first.tick()
    first.close()
    since = rewind(3)
    new_beat().tick()
    now = ledger_now()
    unread = {each.schedule: each.unread for each in slot_histories(since, now, now) if each.unread}
    assert set(unread) == {"at sunset"}
    assert "ephem" in unread["at sunset"][0].reason
    assert verdicts(since)[OURS] == {Verdict.SKIPPED: 2, Verdict.WAITING: 1}


def test_a_scheduled_proof_goes_on_where_the_last_one_ended(new_beat: BeatFactory) -> None:
    with pytest.raises(Skipped, match="No scheduler has recorded"):
        prove_slots(job({}))
    schedules()
    beat = new_beat()
    beat.tick()
    beat.close()
    rewind(30)
    new_beat().tick()

    first = prove_slots(job({}))
    second = prove_slots(job(first.state))

    assert (first.facts["lost"], first.facts["overdue"]) == (0, 0)
    assert first.facts["slots"] >= 60
    assert second.facts["slots"] <= 4, "those of the last hour again"


def job(state: Mapping[str, Any]) -> Job[None, NoOptions]:
    return Job(target_name="", target=None, options=NoOptions(), previous_state=state)
