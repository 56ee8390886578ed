"""The sample site's record of schedules: the lost slot is named, and what was paused is not."""

from datetime import timedelta

import pytest
from django.utils import timezone

from maintenance.core.evidence.proving import prove_slots
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.models import Run, ScheduleVersion
from service.sample_site import slots

pytestmark = pytest.mark.django_db


def test_the_lost_slot_is_named_and_no_paused_one() -> None:
    slots.plant(timezone.now())

    report = prove_slots(Job("", None, NoOptions()))

    (fault,), (decoy,) = slots.faults(), slots.decoys()
    (found,) = report.findings
    assert found.subject == fault.subject != decoy.subject
    assert f"{fault.subject} lost 1 slot" in found.sentence
    expected = fault.expected["slots"]
    assert report.facts["slots"] == 2 * int(expected)
    assert report.facts["lost"] == fault.expected["lost"]
    assert report.facts["skipped"] == len(slots.PAUSED_HOURS)
    assert report.facts["on_time"] == 2 * int(expected) - 1 - len(slots.PAUSED_HOURS)


def test_a_later_build_takes_the_place_of_an_earlier_one() -> None:
    now = timezone.now()
    slots.plant(now - timedelta(hours=5))
    before = Run.objects.count(), ScheduleVersion.objects.count()
    slots.plant(now)
    assert (Run.objects.count(), ScheduleVersion.objects.count()) == before
    assert prove_slots(Job("", None, NoOptions())).facts["lost"] == 1
