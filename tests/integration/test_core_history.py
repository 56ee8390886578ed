"""What earlier runs stored, as the next run and the commands see it, on a real ledger."""

import secrets
from collections.abc import Callable, Iterable
from dataclasses import replace
from datetime import timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from maintenance.commands.earlier import ReachableRuns, job_after
from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.job import POINTS_PER_SERIES, Job, NoEarlierRuns
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report, Sample
from maintenance.core.runs import claims, ledger, registry
from maintenance.core.runs.history import LedgerHistory, LedgerRuns
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import task_named
from maintenance.models import SUBJECT_LENGTH, Run, RunState, StoredSample, Trigger
from maintenance.postgres.checks import run_analyses
from tests.command_line import Shell, ledger_url

pytestmark = pytest.mark.django_db(transaction=True)

DAY = 86_400.0
TASK = "report_table_bloat"


def finished_run(report: Report, task: str = TASK, target: str = "site") -> Run:
    """Write a run that ended with this report."""
    waiting = ledger.create_run(task_named(task), target, {}, Origin(Trigger.CLI))
    run = claims.claim(waiting.id, task_named(task), target, {}, "worker@crew")
    ledger.finish(run, RunState.SUCCEEDED, report)
    return run


def store(
    values: Iterable[tuple[float, float]],
    metric: str = "table_bytes",
    subject: str = "public.shelf",
    target: str = "site",
) -> None:
    """Store values by their age in days."""
    run = finished_run(Report("Sizes", "Measured."), target=target)
    now = timezone.now()
    StoredSample.objects.bulk_create(
        StoredSample(
            run=run,
            target=target,
            metric=metric,
            subject=subject,
            value=value,
            measured_at=now - timedelta(days=age),
        )
        for age, value in values
    )


def values_of(points: Iterable[Any]) -> list[float]:
    return [point.value for point in points]


def test_a_series_is_in_the_order_of_time_and_holds_nothing_of_others() -> None:
    store([(1, 30), (3, 10), (2, 20), (400, 5)])
    store([(1, 99)], metric="index_bytes")
    store([(1, 98)], subject="public.other")
    store([(1, 97)], target="elsewhere")

    points = LedgerHistory("site").series("table_bytes", "public.shelf")

    assert values_of(points) == [10, 20, 30]
    ages = [timezone.now().timestamp() - point.at_epoch_seconds for point in points]
    assert ages == pytest.approx([3 * DAY, 2 * DAY, DAY], abs=60)
    assert values_of(
        LedgerHistory("site").series("table_bytes", "public.shelf", since_seconds=1.5 * DAY)
    ) == [30]
    assert list(LedgerHistory("site").series("table_bytes", "public.nobody")) == []


def test_a_long_series_is_thinned_to_the_last_value_of_each_stretch_and_keeps_the_newest() -> None:
    count = 20 * POINTS_PER_SERIES
    store([(100 * i / count, float(i)) for i in range(count)])

    points = LedgerHistory("site").series("table_bytes", "public.shelf", since_seconds=100 * DAY)

    assert POINTS_PER_SERIES <= len(points) <= POINTS_PER_SERIES + 1
    assert (points[0].value, points[-1].value) == (count - 1, 0)
    stretch = 100 * DAY / POINTS_PER_SERIES
    gaps = [after.at_epoch_seconds - before.at_epoch_seconds for before, after in pairwise(points)]
    assert max(gaps) <= 1.1 * stretch


def test_the_highest_value_survives_thinning() -> None:
    count = 20 * POINTS_PER_SERIES
    store([(100 * i / count, 500.0 if i == 1234 else 1.0) for i in range(count)])
    history = LedgerHistory("site")

    highest = history.highest("table_bytes", "public.shelf", since_seconds=100 * DAY)

    assert highest is not None
    assert highest.value == 500
    age = timezone.now().timestamp() - highest.at_epoch_seconds
    assert age == pytest.approx(100 * DAY * 1234 / count, abs=60)
    assert history.highest("table_bytes", "public.nobody") is None


def test_many_subjects_take_one_query(django_assert_num_queries: Callable[..., Any]) -> None:
    for number in range(5):
        store([(2, number), (1, number + 10)], subject=f"public.t{number}")

    with django_assert_num_queries(1):
        all_of_them = LedgerHistory("site").series_by_subject("table_bytes")
    with django_assert_num_queries(1):
        some = LedgerHistory("site").series_by_subject(
            "table_bytes", ["public.t1", "public.t3", "public.nobody"]
        )

    assert {name: values_of(points) for name, points in all_of_them.items()} == {
        f"public.t{number}": [number, number + 10] for number in range(5)
    }
    assert {name: values_of(points) for name, points in some.items()} == {
        "public.t1": [1, 11],
        "public.t3": [3, 13],
    }


def test_a_subject_that_is_cut_is_found_by_its_whole_name() -> None:
    name = "n" * (SUBJECT_LENGTH + 50)
    finished_run(Report("Sizes", "Measured.", samples=(Sample("table_bytes", 7, name),)))
    history = LedgerHistory("site")

    assert values_of(history.series("table_bytes", name)) == [7]
    assert values_of(history.series_by_subject("table_bytes", [name])[name]) == [7]


def test_a_run_gets_the_history_of_its_own_target(
    monkeypatch: pytest.MonkeyPatch, settings: Any, tmp_path: Path
) -> None:
    backend = "django.core.files.storage.FileSystemStorage"
    settings.STORAGES = {
        **settings.STORAGES,
        "maintenance": {"BACKEND": backend, "OPTIONS": {"location": str(tmp_path)}},
    }
    store([(1, 41)], metric="disk_used_bytes", subject="/", target="local")
    store([(1, 99)], metric="disk_used_bytes", subject="/", target="other")
    seen: list[float] = []

    def look(job: Job[Any, Any]) -> Report:
        seen.extend(values_of(job.history.series("disk_used_bytes", "/")))
        return Report("Look", "Looked.")

    spec = replace(task_named("check_disk_space"), function=look)
    monkeypatch.setitem(registry._specs, spec.name, spec)

    run = work_here(ledger.create_run(spec, "local", {}, Origin(Trigger.CLI)))

    assert (run.state, seen) == (RunState.SUCCEEDED, [41])


def test_an_analysis_at_the_terminal_compares_with_the_last_run_and_stores_nothing(
    make_database: Callable[[], str],
) -> None:
    target = DatabaseTarget(url=make_database())
    name = f"site-{secrets.token_hex(4)}"
    none = Thresholds(cache_hit_minimum_reads=0)
    (first,) = run_analyses(name, target, ["cache-hit"], none, NoEarlierRuns())
    finished_run(first, "review_database_cache_hit_ratio", name)
    stored = StoredSample.objects.count(), Run.objects.count()

    (second,) = run_analyses(name, target, ["cache-hit"], none, LedgerRuns())
    (alone,) = run_analyses(name, target, ["cache-hit"], none)

    assert second.facts["period"].endswith("since the last look")
    assert not alone.facts["period"].endswith("since the last look")
    assert (StoredSample.objects.count(), Run.objects.count()) == stored


def test_a_command_gets_the_state_and_history_of_its_task() -> None:
    store([(1, 30)])
    finished_run(Report("Sizes", "Measured.", state={"seen": 3}))
    notes: list[str] = []

    job = job_after(ReachableRuns(notes.append), TASK, "site", None, NoOptions())

    assert notes == []
    assert job.previous_state == {"seen": 3}
    assert values_of(job.history.series("table_bytes", "public.shelf")) == [30]


def test_without_a_ledger_a_command_compares_with_nothing_and_says_so_once() -> None:
    notes: list[str] = []
    store([(1, 30)])
    job = job_after(ReachableRuns(notes.append), TASK, "site", None, NoOptions())
    assert values_of(job.history.series("table_bytes", "public.shelf")) == [30]
    with connection.cursor() as cursor:
        cursor.execute("ALTER TABLE maintenance_storedsample RENAME TO elsewhere")
    try:
        answers = (
            job.history.series("table_bytes", "public.shelf"),
            job.history.series_by_subject("table_bytes"),
            job.history.highest("table_bytes", "public.shelf"),
        )
    finally:
        with connection.cursor() as cursor:
            cursor.execute("ALTER TABLE elsewhere RENAME TO maintenance_storedsample")

    assert answers == ((), {}, None)
    (note,) = notes
    assert note.startswith("Nothing is compared with earlier runs. The ledger at ")
    assert "manage.py migrate" in note


def test_the_command_line_compares_with_the_last_run_and_stores_nothing(tmp_path: Path) -> None:
    shell = Shell(
        {
            "DJANGO_SETTINGS_MODULE": "service.settings",
            "DATABASE_URL": ledger_url(),
            "MAINTENANCE_STATE": str(tmp_path),
        }
    )
    look = ("analyze_db_performance", "--analysis", "cache-hit", "--format", "json")
    before = shell(*look)
    shell("maintenance", "run", "review_database_cache_hit_ratio", "--target", "own", "--now")
    stored = Run.objects.count(), StoredSample.objects.count()
    after = shell(*look)

    assert "since the last look" not in before.out
    assert "since the last look" in after.out
    assert stored[0] == 1
    assert (Run.objects.count(), StoredSample.objects.count()) == stored
