"""The dashboard on a real ledger: what it says of a site that is new, at work, in trouble."""

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.test import Client
from django.utils import timezone
from django.utils.html import strip_tags
from django_celery_beat.models import PeriodicTask

from maintenance.conf import configuration
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report, Sample
from maintenance.core.scheduling.pausing import pause
from maintenance.core.scheduling.schedule_sync import sync_schedules
from maintenance.models import (
    AcceptedTarget,
    Blackout,
    Leader,
    Run,
    RunState,
    ScheduleRow,
    StoredSample,
)
from tests.admin_clients import ClientFactory
from tests.ledger_rows import WORKER, finished_run, queued_run, running_run, warning
from tests.postgres_clients import ODD_NAME

pytestmark = pytest.mark.django_db

DASHBOARD = "/admin/maintenance/"
#: What the product promises, for a person whose permissions come from groups.
MOST_QUERIES = 15


@pytest.fixture
def leading() -> None:
    """A scheduler that is at work."""
    now = timezone.now()
    Leader.objects.create(
        name="scheduler",
        holder="beat@crew",
        since=now - timedelta(hours=1),
        expires_at=now + timedelta(seconds=9),
        ticked_at=now,
    )


def text(client: Client, query: str = "") -> str:
    answer = client.get(f"{DASHBOARD}{query}")
    assert answer.status_code == 200
    return " ".join(strip_tags(answer.content.decode()).replace("\xa0", " ").split())


def sampled_run(task: str, target: str, *samples: Sample, days: float = 0.01) -> Run:
    from maintenance.core.runs import claims, ledger
    from maintenance.core.runs.registry import task_named

    waiting = queued_run(task, target, age=timedelta(days=days))
    run = claims.claim(waiting.id, task_named(task), target, {}, WORKER)
    ledger.finish(run, RunState.SUCCEEDED, Report("R", "Measured.", samples=samples))
    StoredSample.objects.filter(run=run).update(measured_at=waiting.queued_at)
    return run


def test_a_new_site_is_told_what_to_do_first(operator: Client) -> None:
    said = text(operator)

    assert "Nothing has run yet." in said
    assert "python manage.py sync_schedules" in said
    assert "celery -A &lt;application&gt; beat" in operator.get(DASHBOARD).content.decode()

    sync_schedules(configuration())
    said = text(operator)
    assert "schedules are on." in said
    assert "sync_schedules" not in said
    assert "What will run" in said


def test_the_first_steps_count_one_of_a_thing_as_one(operator: Client) -> None:
    sync_schedules(configuration())
    only = ScheduleRow.objects.values_list("id", flat=True)[0]
    ScheduleRow.objects.exclude(id=only).update(enabled=False)

    assert "1 schedule is on." in text(operator)


def test_the_worst_verdict_is_the_headline(operator: Client, leading: None) -> None:
    sync_schedules(configuration())
    finished_run("review_vacuum_health", "default", summary="212 tables, oldest need 3 h")
    finished_run(
        "check_disk_space",
        "local",
        findings=[
            Finding("disk-space", Severity.CRITICAL, "/", "The disk is full.", advice="Free space.")
        ],
        summary="The disk is full.",
    )
    said = text(operator)

    assert "1 thing needs somebody now" in said
    assert "Disk space needs somebody now." in said
    assert "Vacuuming is healthy." in said
    assert "212 tables, oldest need 3 h" in said
    assert said.index("Disk space needs") < said.index("Vacuuming is healthy")
    assert "Free space." in said
    assert "beat@crew leads since" in said


def test_a_scheduler_that_is_silent_stands_among_the_verdicts(operator: Client) -> None:
    sync_schedules(configuration())
    finished_run()

    said = text(operator)

    assert "1 thing needs somebody now" in said
    assert "No scheduler has ever led: nothing is sent." in said


def test_findings_of_one_kind_are_one_decision(operator: Client, leading: None) -> None:
    disks = [warning(subject=f"/var/{n}", sentence=f"Disk {n} is 85 % full.") for n in range(5)]
    finished_run(findings=[*disks, Finding("other", Severity.WARNING, "x", "Another thing.")])

    said = text(operator)

    assert "4 more like it" in said
    assert "Another thing." in said


def test_a_finding_that_is_gone_needs_no_decision(operator: Client, leading: None) -> None:
    finished_run(findings=[warning()], age=timedelta(hours=2))
    finished_run()

    said = text(operator)

    assert "The disk is 85 % full." not in said
    assert "Nothing. What was found is taken care of" in said


def test_tiles_show_key_metrics_with_a_line_and_its_words(operator: Client, leading: None) -> None:
    for days, ratio in ((21, 0.99), (14, 0.98), (7, 0.97), (0.1, 0.90)):
        last = sampled_run(
            "review_database_cache_hit_ratio",
            "default",
            Sample("database_cache_hit_ratio", ratio),
            days=days,
        )
    page = operator.get(DASHBOARD).content.decode()

    assert "cache hit ratio in the last 91 days: between 90.0 % and 99.0 %, now 90.0 %" in page
    assert "target: over 95.0 %" in page
    assert "misses its target:" in page
    assert f'href="/admin/maintenance/run/{last.id}/change/">cache hit ratio</a>' in page
    [points] = re.findall(r'<polyline points="([^"]+)"', page)
    heights = [float(point.split(",")[1]) for point in points.split()]
    assert len(heights) == 4
    assert heights == sorted(heights), "a ratio that falls is a line that falls"
    assert "Not measured lately: active connections" in page


def test_a_limit_that_a_person_accepted_is_the_limit(operator: Client, leading: None) -> None:
    sampled_run(
        "review_database_cache_hit_ratio", "default", Sample("database_cache_hit_ratio", 0.9)
    )
    assert "target: over 95.0 %" in text(operator)

    AcceptedTarget.objects.create(
        setting="database_cache_hit_ratio",
        value=0.85,
        replaces=0.95,
        accepted_by="ann",
        accepted_at=timezone.now(),
    )
    said = text(operator)
    assert "target: over 85.0 %" in said
    assert "misses its target" not in said


def test_one_target_is_shown_alone(operator: Client, leading: None) -> None:
    sync_schedules(configuration())
    finished_run("check_disk_space", "local", summary="12 % of the disk are used.")
    finished_run("trim_streams", "main", summary="All streams are short.")
    queued_run("check_data_integrity", "default")

    said = text(operator, "?target=main")

    assert "All streams are short." in said
    assert "12 % of the disk" not in said
    assert "Nothing is at work, and nothing waits." in said
    assert "Check redis memory" not in said
    assert "Check Redis memory · main" in said, "what will run on it"
    assert "Check disk space ·" not in said


def test_a_target_that_does_not_exist_is_named_and_all_are_shown(
    operator: Client, leading: None
) -> None:
    finished_run(summary="12 % of the disk are used.")

    answer = operator.get(DASHBOARD, {"target": f"<b>{ODD_NAME}"}).content.decode()

    assert "No target is called “&lt;b&gt;" in answer
    assert "12 % of the disk are used." in answer


def test_what_runs_waits_and_why(operator: Client, leading: None) -> None:
    running = running_run("report_table_bloat", "default")
    Run.objects.filter(id=running.id).update(
        phase="public.book", progress_done=3, progress_total=12
    )
    waiting = queued_run("vacuum_analyze", "default")
    Run.objects.filter(id=waiting.id).update(
        reason="another run has the database to itself",
        available_at=timezone.now() + timedelta(minutes=5),
    )
    said = text(operator)

    assert "public.book" in said
    assert "3 of 12 (25.0 %)" in said
    assert ": another run has the database to itself" in said


def test_what_will_run_says_what_keeps_it(operator: Client, leading: None) -> None:
    finished_run()
    sync_schedules(configuration())
    now = timezone.now()
    Blackout.objects.create(
        reason="stocktaking", starts_at=now - timedelta(hours=1), ends_at=now + timedelta(days=2)
    )
    # The page shows the next eight, whatever the hour is.
    shown = ["maintenance.trim_streams", "maintenance.check_disk_space"]
    PeriodicTask.objects.exclude(task__in=shown).update(enabled=False)
    for row in PeriodicTask.objects.filter(task="maintenance.trim_streams"):
        pause(row, "ann", "holidays")
    said = text(operator)

    assert "will be skipped: stocktaking" in said
    assert "1 schedule is paused." in said
    assert re.search(
        r"Trim streams · main \S+ \S+ · in \S+ \S+ · will be skipped: .* · paused", said
    )


def test_counts_of_a_day_are_by_state(operator: Client, leading: None) -> None:
    finished_run(), finished_run("trim_streams", "main")
    finished_run("review_activity", "default", state=RunState.FAILED, reason="away")
    finished_run("report_index_bloat", "default", age=timedelta(days=3))

    assert "Runs of the last 24 hours: 2 succeeded, 1 failed." in text(operator)


def test_who_may_not_look_at_runs_sees_no_word_of_them(client_with: ClientFactory) -> None:
    finished_run(summary="12 % of the disk are used.")
    said = text(client_with("view_schedulerow"))

    assert "Can view run" in said
    assert "12 %" not in said


def test_hostile_words_stay_words(operator: Client, leading: None) -> None:
    evil = "<script>alert(1)</script>"
    finished_run(findings=[warning(subject=evil, sentence=evil)], summary=evil)

    page = operator.get(DASHBOARD).content.decode()

    assert evil not in page
    assert page.count("&lt;script&gt;alert(1)") >= 3


def test_the_number_of_queries_does_not_grow(
    operator: Client, leading: None, django_assert_max_num_queries: Callable[..., Any]
) -> None:
    sync_schedules(configuration())
    for number in range(12):
        finished_run(findings=[warning()], age=timedelta(hours=number))
        finished_run("trim_streams", "main", age=timedelta(hours=number))
        queued_run("check_data_integrity", "default")
    with django_assert_max_num_queries(MOST_QUERIES) as all_targets:
        operator.get(DASHBOARD)
    with django_assert_max_num_queries(MOST_QUERIES):
        operator.get(DASHBOARD, {"target": "local"})
    assert len(all_targets) >= 8, "the ledger was not asked"
