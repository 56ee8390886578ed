"""Schedules from code into rows, and what an operator made of them."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from django_celery_beat.models import CrontabSchedule, IntervalSchedule, PeriodicTask

from maintenance.conf import Configuration, parse_configuration
from maintenance.core.scheduling import schedule_sync, synced_rows
from maintenance.core.scheduling.schedule_book import change_mark
from maintenance.core.scheduling.schedule_sync import Difference, differences, sync_schedules
from maintenance.models import SyncedSchedule
from maintenance.schedules import CHECKLISTS, Schedule

pytestmark = pytest.mark.django_db

VACUUM = "maintenance: monthly vacuum_analyze on library"


def site(*databases: str, **changes: Any) -> Configuration:
    targets = {name: {"url": f"postgres://h/{name}"} for name in databases or ("library",)}
    return parse_configuration({"databases": targets, **changes})


def row(name: str = VACUUM) -> PeriodicTask:
    return PeriodicTask.objects.get(name=name)


def edit(name: str = VACUUM, **changes: Any) -> None:
    """Change a row as an operator does in the admin."""
    edited = row(name)
    for field, value in changes.items():
        setattr(edited, field, value)
    edited.save()


def weekly_at_noon() -> CrontabSchedule:
    return CrontabSchedule.objects.create(minute="0", hour="12", day_of_week="3", timezone="UTC")


@pytest.fixture
def change_the_code(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Let the monthly vacuum have another cron line, as a new release would."""

    def change(cron: str, line: str = "") -> None:
        changed = tuple(
            Schedule("vacuum_analyze", cron, line or each.line)
            if each.task == "vacuum_analyze"
            else each
            for each in CHECKLISTS["monthly"]
        )
        monkeypatch.setattr(schedule_sync, "CHECKLISTS", {**CHECKLISTS, "monthly": changed})

    return change


# --- Writing ---


def test_every_schedule_gets_a_row_for_each_of_its_targets() -> None:
    result = sync_schedules(site("library", "archive"))

    names = set(PeriodicTask.objects.values_list("name", flat=True))
    assert set(result.created) == {name for name in names if name.startswith("maintenance: ")}
    assert {VACUUM, "maintenance: monthly vacuum_analyze on archive"} <= names
    assert "maintenance: daily trim_streams" in names, "a line without a target is not absent"
    assert len(result.created) >= sum(len(schedules) for schedules in CHECKLISTS.values())


def test_a_row_says_what_to_run_where_when_and_why() -> None:
    sync_schedules(site(timezone="Europe/Berlin"))

    vacuum = row()
    assert vacuum.task == "maintenance.vacuum_analyze"
    assert vacuum.queue == "medium"
    assert json.loads(vacuum.kwargs) == {"target": "library", "options": {}}
    assert json.loads(vacuum.headers) == {"maintenance_checklist": "monthly"}
    assert vacuum.description == "Monthly checklist: VACUUM and ANALYZE database"
    assert (vacuum.crontab.minute, vacuum.crontab.hour) == ("0", "3")
    assert vacuum.crontab.day_of_month == "1"
    assert str(vacuum.crontab.timezone) == "Europe/Berlin"
    assert vacuum.enabled


def test_a_second_sync_changes_nothing() -> None:
    sync_schedules(site())
    before = list(PeriodicTask.objects.order_by("name").values())

    result = sync_schedules(site())

    assert (result.created, result.updated, result.disabled, result.kept) == ([], [], [], [])
    assert list(PeriodicTask.objects.order_by("name").values()) == before
    assert differences(site()) == []


def test_rows_share_one_crontab_also_where_somebody_made_two_of_the_same() -> None:
    for _ in range(2):
        CrontabSchedule.objects.create(minute="0", hour="3", day_of_month="1", timezone="UTC")

    sync_schedules(site())

    fields = {"minute": "0", "hour": "3", "day_of_month": "1"}
    assert CrontabSchedule.objects.filter(**fields).count() == 2
    assert row().crontab == CrontabSchedule.objects.filter(**fields).order_by("pk").first()


def test_rows_of_others_are_never_touched() -> None:
    foreign = PeriodicTask.objects.create(
        name="site: weed", task="site.weed", crontab=weekly_at_noon()
    )
    before = PeriodicTask.objects.filter(pk=foreign.pk).values().get()

    sync_schedules(site())
    sync_schedules(site("other"))

    assert PeriodicTask.objects.filter(pk=foreign.pk).values().get() == before


# --- Many rows ---


def test_statements_do_not_grow_with_the_targets(
    django_assert_num_queries: Any, django_assert_max_num_queries: Any
) -> None:
    names = [f"site-{number}" for number in range(12)]
    with django_assert_max_num_queries(20):
        sync_schedules(site(*names))
    with django_assert_num_queries(3):
        sync_schedules(site(*names))
    with django_assert_max_num_queries(20):
        updated = sync_schedules(site(*names, timezone="Europe/Berlin")).updated
    with django_assert_max_num_queries(20):
        disabled = sync_schedules(site("site-0", timezone="Europe/Berlin")).disabled

    assert len(updated) > len(disabled) > 100


def test_more_rows_than_one_transaction_takes_are_all_written(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(synced_rows, "ROWS_PER_TRANSACTION", 7)
    wanted = site("library", "archive")

    created = sync_schedules(wanted).created
    assert differences(wanted) == []
    moved = site("library", "archive", timezone="Europe/Berlin")
    assert sync_schedules(moved).updated == created
    assert differences(moved) == []
    assert len(sync_schedules(site("archive", timezone="Europe/Berlin")).disabled) > 7


def test_a_scheduler_sees_what_was_written_and_keeps_what_is_its_own(change_the_code: Any) -> None:
    sync_schedules(site())
    ran_at = datetime(2026, 3, 1, 3, tzinfo=UTC)
    PeriodicTask.objects.filter(name=VACUUM).update(last_run_at=ran_at, total_run_count=7)
    mark, before = change_mark(), row()
    sync_schedules(site())
    assert change_mark() == mark, "nothing was written, so nothing has to be read again"

    change_the_code("15 2 1 * *")
    sync_schedules(site())

    assert change_mark() != mark
    assert row().date_changed > before.date_changed
    assert (row().last_run_at, row().total_run_count) == (ran_at, 7)

    mark, before = change_mark(), row()
    sync_schedules(site("archive"))
    assert change_mark() != mark
    assert row().date_changed > before.date_changed
    assert row().last_run_at is None, "as django-celery-beat does where a row is switched off"


# --- What an operator changed ---


def test_an_operators_edit_stays_and_is_shown() -> None:
    sync_schedules(site())
    edit(enabled=False, crontab=weekly_at_noon(), queue="low")

    result = sync_schedules(site())

    assert not row().enabled
    assert row().crontab.hour == "12"
    assert row().queue == "low"
    expected = {
        Difference(VACUUM, "enabled", True, False),
        Difference(VACUUM, "cron", "0 3 1 * *", "0 12 * * 3"),
        Difference(VACUUM, "queue", "medium", "low"),
    }
    assert set(result.kept) == set(differences(site())) == expected
    assert f"{VACUUM}: queue is 'low', the code says 'medium'" in map(str, result.kept)


def test_options_that_an_operator_set_stay() -> None:
    sync_schedules(site())
    own = {"target": "library", "options": {"dry_run": True}}
    edit(kwargs=json.dumps(own))

    sync_schedules(site())

    assert json.loads(row().kwargs) == own


def test_a_row_that_an_operator_gave_an_interval_keeps_it() -> None:
    sync_schedules(site())
    every = IntervalSchedule.objects.create(every=2, period="hours")
    edit(crontab=None, interval=every)

    sync_schedules(site())

    assert row().interval == every
    assert row().crontab is None


def test_what_only_the_code_changed_is_updated(change_the_code: Any) -> None:
    sync_schedules(site())
    change_the_code("15 2 1 * *")
    assert differences(site()) == [Difference(VACUUM, "cron", "15 2 1 * *", "0 3 1 * *")]

    result = sync_schedules(site())

    assert result.updated == [VACUUM]
    assert (row().crontab.minute, row().crontab.hour) == ("15", "2")
    assert differences(site()) == []


def test_a_crontab_that_an_operator_wrote_with_spaces_stays(change_the_code: Any) -> None:
    sync_schedules(site())
    spaced = CrontabSchedule.objects.create(minute="0, 30", hour="3", timezone="UTC")
    edit(crontab=spaced)
    change_the_code("0 3 1 * *", line="Another line")

    result = sync_schedules(site())

    assert result.updated == [VACUUM]
    assert (row().crontab, row().description) == (spaced, "Monthly checklist: Another line")

    sync_schedules(site(timezone="Europe/Berlin"))

    assert (row().crontab.minute, str(row().crontab.timezone)) == ("0,30", "Europe/Berlin")


def test_where_both_changed_different_fields_each_gets_its_own(change_the_code: Any) -> None:
    sync_schedules(site())
    edit(enabled=False)
    change_the_code("15 2 1 * *")

    result = sync_schedules(site())

    assert (row().crontab.hour, row().enabled) == ("2", False)
    assert result.kept == [Difference(VACUUM, "enabled", True, False)]


def test_where_both_changed_the_same_field_the_operator_wins_for_good(
    change_the_code: Any,
) -> None:
    sync_schedules(site())
    edit(crontab=weekly_at_noon())

    for cron in ("15 2 1 * *", "30 2 1 * *"):
        change_the_code(cron)
        sync_schedules(site())
        assert row().crontab.hour == "12"


def test_an_edit_that_was_taken_back_follows_the_code_again(change_the_code: Any) -> None:
    sync_schedules(site())
    original = row().crontab
    edit(crontab=weekly_at_noon())
    sync_schedules(site())
    edit(crontab=original)
    change_the_code("15 2 1 * *")

    sync_schedules(site())

    assert row().crontab.hour == "2"


def test_a_deleted_row_stays_deleted_and_is_shown() -> None:
    sync_schedules(site())
    row().delete()

    for _ in range(2):
        result = sync_schedules(site())
        assert not PeriodicTask.objects.filter(name=VACUUM).exists()
        assert result.kept == [Difference(VACUUM, "row", "present", "deleted")]
    assert differences(site()) == [Difference(VACUUM, "row", "present", "deleted")]


# --- Targets that come and go ---


def test_the_rows_of_a_removed_target_are_disabled_not_deleted() -> None:
    sync_schedules(site("library", "archive"))

    result = sync_schedules(site("archive"))

    assert VACUUM in result.disabled
    assert not row().enabled
    assert row("maintenance: monthly vacuum_analyze on archive").enabled
    assert sync_schedules(site("archive")).disabled == []


def test_the_rows_of_a_target_that_comes_back_are_enabled_again() -> None:
    sync_schedules(site("library", "archive"))
    sync_schedules(site("archive"))

    sync_schedules(site("library", "archive"))

    assert row().enabled


def test_what_was_off_before_its_target_went_is_off_when_it_comes_back() -> None:
    sync_schedules(site("library", "archive"))
    edit(enabled=False)
    sync_schedules(site("archive"))

    sync_schedules(site("library", "archive"))

    assert not row().enabled


def test_what_an_operator_enabled_without_its_target_is_left_alone() -> None:
    sync_schedules(site("library", "archive"))
    sync_schedules(site("archive"))
    edit(enabled=True)

    assert sync_schedules(site("archive")).disabled == []
    assert row().enabled


def test_a_deleted_row_whose_target_went_is_forgotten_with_it() -> None:
    sync_schedules(site("library", "archive"))
    row().delete()

    sync_schedules(site("archive"))

    assert not SyncedSchedule.objects.filter(name=VACUUM).exists()


def test_a_line_without_a_target_gives_way_to_the_first_target() -> None:
    sync_schedules(site())
    assert row("maintenance: daily trim_streams").enabled

    sync_schedules(site(redis={"main": {"url": "redis://h"}}))

    assert not row("maintenance: daily trim_streams").enabled
    assert row("maintenance: daily trim_streams on main").enabled
