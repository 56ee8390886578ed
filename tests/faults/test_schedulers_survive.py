"""Two beats of real processes: the leader killed, stopped and continued, ended; no slot lost or doubled."""

import os
import signal
from collections.abc import Callable
from datetime import timedelta
from itertools import pairwise

import pytest
import pytest_celery
from celery import Celery
from django.db import connection
from django.utils import timezone
from django_celery_beat.models import IntervalSchedule, PeriodicTask

from maintenance.core.scheduling.leadership import LEASE_SECONDS
from maintenance.core.scheduling.scheduler import AWAY_SECONDS, LOOK_SECONDS, LedgerScheduler
from maintenance.models import Leader, Run, ScheduleVersion
from service.embedded.ports import free_port
from tests.polling import eventually

pytestmark = pytest.mark.django_db(transaction=True)

EVERY_SECONDS = 2
NAME = "maintenance: often"
BeatFactory = Callable[[], pytest_celery.CeleryTestNode]

#: What a machine that is busy with other tests adds.
PATIENCE_SECONDS = 20.0


@pytest.fixture
def often() -> None:
    """A schedule with a slot every two seconds."""
    every = IntervalSchedule.objects.create(every=EVERY_SECONDS, period="seconds")
    PeriodicTask.objects.create(
        name=NAME, task="maintenance.note_high", interval=every, last_run_at=timezone.now()
    )


def pid(beat: pytest_celery.CeleryTestNode) -> int:
    """The beat's own process: its group's leader is the leash that ends it with the tests."""
    found: int = beat.container._container.pid
    return found


def slots_after(moment: object) -> Callable[[], bool]:
    return Run.objects.filter(schedule=NAME, scheduled_for__gt=moment).exists


def require_no_slot_lost_or_doubled() -> None:
    since = ScheduleVersion.objects.filter(schedule=NAME).earliest("since").since
    slots = list(
        Run.objects.filter(schedule=NAME)
        .order_by("scheduled_for")
        .values_list("scheduled_for", flat=True)
    )
    assert slots[0] is not None
    assert slots[0] - since < timedelta(seconds=EVERY_SECONDS)
    steps = {(after - before).total_seconds() for before, after in pairwise(slots)}
    assert steps == {EVERY_SECONDS}


def started(
    make_beat: BeatFactory,
) -> tuple[pytest_celery.CeleryTestNode, pytest_celery.CeleryTestNode]:
    """Start two beats, the first of which leads."""
    first = make_beat()
    first.wait_for_log("schedules are on")
    second = make_beat()
    eventually(slots_after(timezone.now()), PATIENCE_SECONDS, "the first beat records slots")
    return first, second


def test_another_beat_leads_after_a_kill_and_no_slot_is_lost_or_doubled(
    often: None, make_beat: BeatFactory
) -> None:
    first, _second = started(make_beat)

    first.kill()

    killed_at = timezone.now()
    limit = LEASE_SECONDS + LOOK_SECONDS + PATIENCE_SECONDS
    eventually(slots_after(killed_at), limit, "the second beat records slots")
    assert Leader.objects.get().token == 2
    require_no_slot_lost_or_doubled()


def test_a_leader_that_was_stopped_and_goes_on_stands_by(
    often: None, make_beat: BeatFactory
) -> None:
    first, _second = started(make_beat)

    os.killpg(pid(first), signal.SIGSTOP)
    stopped_at = timezone.now()
    limit = LEASE_SECONDS + LOOK_SECONDS + PATIENCE_SECONDS
    eventually(slots_after(stopped_at), limit, "the second beat records slots")
    os.killpg(pid(first), signal.SIGCONT)
    first.wait_for_log("does not lead any more")

    eventually(slots_after(timezone.now()), PATIENCE_SECONDS, "slots are recorded still")
    assert Leader.objects.get().token == 2
    require_no_slot_lost_or_doubled()


def test_a_leader_that_is_asked_to_end_hands_over_at_once(
    often: None, make_beat: BeatFactory
) -> None:
    first, second = started(make_beat)

    os.killpg(pid(first), signal.SIGTERM)
    second.wait_for_log("leads from now on")

    eventually(slots_after(timezone.now()), PATIENCE_SECONDS, "the second beat records slots")
    first.wait_for_log("gives the lead away")
    require_no_slot_lost_or_doubled()


def test_a_ledger_that_is_away_at_the_start_and_later_ends_no_beat(
    often: None, celery_setup_app: Celery, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = connection.settings_dict["PORT"]

    def go_away() -> None:
        connection.close()
        connection.settings_dict["PORT"] = str(free_port())

    def come_back() -> None:
        connection.close()
        connection.settings_dict["PORT"] = port

    try:
        go_away()
        beat = LedgerScheduler(app=celery_setup_app, lazy=False)
        assert beat.tick() == AWAY_SECONDS
        come_back()
        beat.tick()
        assert beat._leadership.is_held
        go_away()
        beat._leadership._renewed_at = 0.0
        assert beat.tick() == AWAY_SECONDS
    finally:
        come_back()
    beat.tick()
    assert beat._leadership.is_held
    beat.close()
