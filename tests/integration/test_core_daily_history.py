"""Samples as one value a day, read from the ledger."""

from datetime import UTC, datetime, timedelta

import pytest
from django.utils import timezone

from maintenance.core.runs.daily_history import daily_series
from maintenance.models import Run, RunState, StoredSample, Trigger
from tests.postgres_clients import ODD_NAME

pytestmark = pytest.mark.django_db


@pytest.fixture
def run() -> Run:
    return Run.objects.create(
        task="maintenance.sample_database_load",
        queue="high",
        trigger=Trigger.CLI,
        state=RunState.SUCCEEDED,
        queued_at=timezone.now(),
    )


def store(run: Run, value: float, at: datetime, *, target: str = "site", subject: str = "") -> None:
    StoredSample.objects.create(
        run=run, target=target, metric="m", subject=subject, value=value, measured_at=at
    )


def test_each_day_has_its_last_lowest_and_highest_value(run: Run) -> None:
    yesterday = datetime.now(UTC).replace(hour=0, minute=0, second=1) - timedelta(days=1)
    for hour, value in enumerate((5.0, 9.0, 1.0, 4.0)):
        store(run, value, yesterday + timedelta(hours=hour))
    store(run, 7.0, yesterday + timedelta(days=1))
    (series,) = daily_series(["site"], "m")
    assert [(d.last, d.lowest, d.highest) for d in series.days] == [(4, 1, 9), (7, 7, 7)]
    assert series.days[0].number == int(yesterday.timestamp() // 86_400)
    assert series.span_days == 1


def test_series_are_apart_by_target_and_subject_and_others_stay_out(run: Run) -> None:
    now = timezone.now()
    for target in ("site", ODD_NAME[:60], "other"):
        for subject in ("", "a", ODD_NAME):
            store(run, 1.0, now, target=target, subject=subject)
    found = {(s.target, s.subject) for s in daily_series(["site", ODD_NAME[:60]], "m")}
    assert found == {(t, s) for t in ("site", ODD_NAME[:60]) for s in ("", "a", ODD_NAME)}


def test_what_is_older_or_no_number_is_left_out(run: Run) -> None:
    now = timezone.now()
    store(run, 1.0, now - timedelta(days=40))
    store(run, float("nan"), now)
    store(run, float("inf"), now)
    assert list(daily_series(["site"], "m", since_seconds=30 * 86_400)) == []
    assert list(daily_series([], "m")) == []
