"""The dashboard as a person sees it: new, in order, in trouble; on a desk and on a phone, light and dark."""

import math
from collections.abc import Callable
from datetime import timedelta

import pytest
from django.db.models import F
from django.utils import timezone
from playwright.sync_api import Page, expect

from maintenance.admin.dashboard.areas import LOOKS_EVERY_DAYS
from maintenance.conf import configuration
from maintenance.core.attention.standings import configured_pairs
from maintenance.core.findings import Finding, Severity
from maintenance.core.scheduling.schedule_sync import sync_schedules
from maintenance.models import Leader, Run, RunState, StoredSample
from tests.browser.accessibility import faults
from tests.browser.conftest import OpenPage
from tests.ledger_rows import finished_run, queued_run, running_run, warning

DASHBOARD = "/admin/maintenance/"
PHONE = 390

SITE = {
    "databases": {
        "default": {"alias": "default"},
        "library": {"url": "postgres://db.example/library"},
    },
    "redis": {
        "main": {"url": "env:TESTAPP_REDIS_URL", "role": "streams"},
        "cache": {"url": "redis://cache.example/1", "role": "cache"},
    },
    "streams": {"home": {"redis": "main", "pattern": "*-home", "max_length": 10}},
    "brokers": {
        "site": {"url": "redis://broker.example/0", "queues": ["high_priority", "low_priority"]}
    },
    "logs": {"site": {"path": "/var/log/nginx/access.log"}},
}


@pytest.fixture
def full_site(settings: object) -> None:
    """A site with a target of each kind that has key metrics."""
    settings.MAINTENANCE = SITE  # type: ignore[attr-defined]


def lead() -> None:
    now = timezone.now()
    Leader.objects.create(
        name="scheduler",
        holder="beat@crew-1",
        since=now - timedelta(days=3),
        expires_at=now + timedelta(hours=1),
        ticked_at=now,
    )


def series(run: Run, metric: str, values: list[float], days: float, subject: str = "") -> None:
    now = timezone.now()
    step = timedelta(days=days) / len(values)
    StoredSample.objects.bulk_create(
        StoredSample(
            run=run,
            target=run.target,
            metric=metric,
            subject=subject,
            value=value,
            measured_at=now - step * (len(values) - 1 - place) - timedelta(minutes=1),
        )
        for place, value in enumerate(values)
    )


def wave(level: float, height: float, count: int, rise: float = 0.0) -> list[float]:
    return [
        level + height * math.sin(n * 1.7) * math.cos(n * 0.6) + rise * n / count
        for n in range(count)
    ]


def a_week_of_work() -> None:
    """Runs of all areas, some in trouble, with the samples that the tiles draw."""
    sync_schedules(configuration())
    lead()
    ago = timedelta
    for task, target in configured_pairs(configuration()):
        if task in LOOKS_EVERY_DAYS and target:
            finished_run(
                task, target, summary="All in order.", age=ago(days=LOOKS_EVERY_DAYS[task])
            )
    finished_run(
        "review_vacuum_health",
        "library",
        summary="212 tables, the oldest needs 3 h.",
        age=ago(days=1),
    )
    finished_run(
        "review_vacuum_health", "default", summary="34 tables, all vacuumed today.", age=ago(days=1)
    )
    finished_run(
        "report_table_bloat",
        "library",
        findings=[
            Finding(
                "table-bloat",
                Severity.WARNING,
                "public.library_status",
                "Half of public.library_status is free: 4.2 GB of 8.6 GB.",
                {"bloat_bytes": 4_500_000_000},
                advice="Rewrite it in a quiet hour with vacuum_full, or pg_repack.",
            )
        ],
        summary="1 of 212 tables is bloated: 4.2 GB could be free.",
        age=ago(days=2),
    )
    finished_run(
        "review_slow_queries",
        "library",
        summary="No statement is slower than before.",
        age=ago(hours=2),
    )
    finished_run(
        "check_data_integrity",
        "library",
        summary="All constraints hold; 3 not proved.",
        age=ago(days=3),
        findings=[Finding("constraint", Severity.INFO, "x", "3 constraints are not proved.")],
    )
    finished_run(
        "trim_streams", "main", summary="1,204 streams, 31,882 members removed.", age=ago(hours=5)
    )
    finished_run(
        "check_redis_memory", "main", summary="312 MB of 512 MB are in use.", age=ago(hours=2)
    )
    finished_run(
        "check_redis_memory", "cache", summary="120 MB of 512 MB are in use.", age=ago(hours=2)
    )
    finished_run(
        "check_disk_space",
        "local",
        findings=[
            Finding(
                "disk-space",
                Severity.CRITICAL,
                "/var/lib/postgresql",
                "The file system is 96 % full and is full in 3 days at this pace.",
                advice="Free space, or enlarge the volume.",
            ),
            warning(),
        ],
        summary="/var/lib/postgresql is full in 3 days.",
        age=ago(hours=1),
    )
    errors = finished_run(
        "review_error_rates",
        "site",
        findings=[
            Finding(
                "slow-route",
                Severity.WARNING,
                "/search",
                "The slowest hundredth of /search takes 2.1 s; the target is 1 s.",
                advice="Look at the statements of this route with profile_queries.",
            )
        ],
        summary="p95 412 ms, p99 1.3 s, 0.3 % server errors in 218,400 requests.",
        age=ago(hours=3),
    )
    series(errors, "response_p95_seconds", wave(0.38, 0.05, 30, 0.03), 30)
    series(errors, "response_p99_seconds", wave(0.8, 0.15, 30, 0.5), 30)
    series(errors, "server_error_ratio", [abs(v) for v in wave(0.003, 0.002, 30)], 30)
    depths = finished_run(
        "check_queue_depths",
        "site",
        summary="212 messages wait in 2 queues, fewer than 1,000 in each.",
        age=ago(minutes=20),
    )
    series(
        depths,
        "queue_depth_messages",
        [abs(round(v)) for v in wave(120, 90, 168)],
        7,
        "high_priority",
    )
    series(depths, "queue_depth_messages", [0.0] * 168, 7, "low_priority")
    activity = finished_run(
        "review_activity", "library", summary="14 of 100 connections are active.", age=ago(days=1)
    )
    series(activity, "active_connections_count", [round(v) for v in wave(14, 5, 13)], 90)
    hits = finished_run(
        "review_database_cache_hit_ratio",
        "library",
        summary="99.2 % are read from memory.",
        age=ago(days=1),
    )
    series(hits, "database_cache_hit_ratio", [min(v, 0.999) for v in wave(0.985, 0.006, 13)], 90)
    ratios = finished_run(
        "review_cache_hit_ratios",
        "cache",
        summary="74 % of reads hit; the target is 80 %.",
        findings=[
            Finding(
                "cache-hit-ratio",
                Severity.WARNING,
                "cache",
                "26 % of all reads miss.",
                advice="Warm what misses most.",
            )
        ],
        age=ago(days=1),
    )
    series(ratios, "cache_hit_ratio", wave(0.86, 0.02, 13, -0.12), 90)
    finished_run(
        "report_index_bloat",
        "default",
        state=RunState.FAILED,
        reason="The server db.example:5432 does not answer.",
        summary="Failed after 3 attempts: the server db.example:5432 does not answer.",
        findings=[
            Finding(
                "run-failed",
                Severity.CRITICAL,
                "default",
                "The server db.example:5432 does not answer.",
                advice="Mend the cause, then run the task again.",
            )
        ],
        age=ago(hours=6),
    )
    Run.objects.update(
        started_at=F("queued_at"), finished_at=F("queued_at") + timedelta(seconds=40)
    )
    bloat = running_run("reindex_bloated_indexes", "library")
    Run.objects.filter(id=bloat.id).update(
        phase="public.library_status_pkey",
        progress_done=7,
        progress_total=31,
        progress_unit="indexes",
    )
    waiting = queued_run("vacuum_analyze", "library")
    Run.objects.filter(id=waiting.id).update(
        reason="outside of its maintenance windows; the next one opens at 01:00 UTC.",
        available_at=timezone.now() + timedelta(hours=9),
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, PHONE])
def test_the_dashboard_fits_every_screen_and_every_reader_empty_and_full(
    open_page: OpenPage,
    full_site: None,
    keep_picture: Callable[[Page, str], None],
    width: int,
    scheme: str,
) -> None:
    page = open_page(width=width, scheme=scheme)
    page.goto(DASHBOARD)
    expect(page.get_by_role("heading", name="Nothing has run yet.")).to_be_visible()
    keep_picture(page, f"dashboard-empty-{scheme}-{width}")
    found = {"empty": faults(page)}

    a_week_of_work()
    page.goto(DASHBOARD)
    expect(page.get_by_role("heading", name="need somebody now")).to_be_visible()
    keep_picture(page, f"dashboard-full-{scheme}-{width}")
    found["full"] = faults(page)

    assert found == {"empty": [], "full": []}
    assert page.evaluate("document.documentElement.scrollWidth") <= width


def test_a_person_goes_from_the_verdict_to_the_report_and_to_one_target(
    open_page: OpenPage, full_site: None, keep_picture: Callable[[Page, str], None]
) -> None:
    a_week_of_work()
    page = open_page()
    page.goto(DASHBOARD)
    expect(page.get_by_role("img", name="response time, p95 in the last 30 days")).to_be_visible()
    page.get_by_role("link", name="Check disk space on local").click()
    expect(page.locator(".maintenance-report")).to_contain_text("is full in 3 days")

    page.goto(DASHBOARD)
    page.get_by_label("Target", exact=True).focus()
    page.get_by_label("Target", exact=True).select_option("library")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/?target=library")
    expect(page.get_by_role("heading", name="library")).to_be_visible()
    expect(page.get_by_text("/var/lib/postgresql is full")).to_have_count(0)
    keep_picture(page, "dashboard-one-target")
    page.get_by_role("link", name="All targets").click()
    expect(page.get_by_text("/var/lib/postgresql is full in 3 days.").first).to_be_visible()
