"""The four checklists as data."""

import pytest
from celery.schedules import crontab

from maintenance.core.options import parse_options
from maintenance.core.runs.registry import task_named
from maintenance.core.scheduling.timetable import cron_in_words
from maintenance.schedules import CHECKLISTS, Schedule

#: The guide's "Performance Checklist", word for word.
GUIDE = {
    "daily": {
        "Monitor slow query log",
        "Check Celery queue depths",
        "Review error rates",
    },
    "weekly": {
        "Run database performance analysis",
        "Review cache hit ratios",
        "Check for N+1 queries in logs",
        "Monitor disk space usage",
    },
    "monthly": {
        "Full performance audit",
        "Review and optimize slow queries",
        "Analyze index usage",
        "VACUUM and ANALYZE database",
        "Review and update caching strategy",
    },
    "quarterly": {
        "Load testing",
        "Capacity planning review",
        "Infrastructure scaling assessment",
        "Review and update performance targets",
    },
}
EVERY = [
    pytest.param(checklist, schedule, id=f"{checklist} {schedule.task}")
    for checklist, schedules in CHECKLISTS.items()
    for schedule in schedules
]


@pytest.mark.parametrize("checklist", GUIDE)
def test_every_line_of_the_guide_has_a_schedule_in_its_checklist(checklist: str) -> None:
    assert {schedule.line for schedule in CHECKLISTS[checklist]} >= GUIDE[checklist]


def test_the_checklists_are_those_of_the_guide() -> None:
    assert list(CHECKLISTS) == list(GUIDE)


#: A few commands on a broker, three short statements, or a look at processes keep nobody from dumping
#: a database.
EVERY_HOUR = {"check_queue_depths", "check_process_memory", "sample_database_load"}


@pytest.mark.parametrize(("checklist", "schedule"), EVERY)
def test_every_schedule_names_a_task_and_options_that_it_takes(
    checklist: str, schedule: Schedule
) -> None:
    spec = task_named(schedule.task)

    assert spec.short_name == schedule.task
    parse_options(spec.options_type, schedule.options)


@pytest.mark.parametrize(("checklist", "schedule"), EVERY)
def test_every_cron_line_is_one_that_celery_reads(checklist: str, schedule: Schedule) -> None:
    read = crontab(**schedule.cron_fields)

    slots_of_a_day = 24 if schedule.task in EVERY_HOUR else 1
    assert len(read.hour) * len(read.minute) == slots_of_a_day
    days = {"daily": (31, 7), "weekly": (31, 1), "monthly": (1, 7), "quarterly": (1, 7)}
    assert (len(read.day_of_month), len(read.day_of_week)) == days[checklist]
    assert len(read.month_of_year) == (4 if checklist == "quarterly" else 12)


@pytest.mark.parametrize(
    ("checklist", "schedule"), [each for each in EVERY if each.values[1].task not in EVERY_HOUR]
)
def test_nothing_runs_while_sites_dump_their_database_or_weed(
    checklist: str, schedule: Schedule
) -> None:
    assert crontab(**schedule.cron_fields).hour.isdisjoint({0, 5})


def test_a_task_has_one_schedule_in_a_checklist() -> None:
    for schedules in CHECKLISTS.values():
        tasks = [schedule.task for schedule in schedules]
        assert len(set(tasks)) == len(tasks)


def test_no_two_schedules_begin_at_the_same_moment_of_a_checklist() -> None:
    for schedules in CHECKLISTS.values():
        times = [schedule.cron for schedule in schedules]
        assert len(set(times)) == len(times)


@pytest.mark.parametrize(
    ("cron", "words"),
    [
        ("0 6 * * *", "At 06:00, every day"),
        ("30 3 * * 1", "At 03:30, only on Monday"),
        ("0 3 1 * *", "At 03:00, on day 1 of the month"),
        ("*/20 * * * *", "Every 20 minutes"),
        ("no cron", "no cron"),
    ],
)
def test_a_cron_line_is_shown_in_words(cron: str, words: str) -> None:
    assert cron_in_words(cron) == words


def test_every_schedule_can_be_said_in_words() -> None:
    for schedules in CHECKLISTS.values():
        for schedule in schedules:
            assert cron_in_words(schedule.cron).startswith("At ")
