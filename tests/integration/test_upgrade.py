"""From the first migration with rows in it to the newest: what was written then is read now."""

from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest
import pytest_django
from django.apps.registry import Apps
from django.db import connections
from django.db.migrations.executor import MigrationExecutor
from django.utils import timezone

from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Report
from maintenance.models import Run, RunState, StoredFinding, StoredReport, StoredSample

ALIAS = "upgraded"
FIRST = ("maintenance", "0001_initial")
REPORT = Report(
    "Activity",
    "One session waits.",
    findings=(Finding("lock-wait", Severity.WARNING, "4711", "Session 4711 waits for a lock."),),
)


@pytest.fixture
def database(
    make_database: Callable[[], str], django_db_blocker: pytest_django.DjangoDbBlocker
) -> Iterator[str]:
    """The alias of an empty database."""
    at = urlsplit(make_database())
    connections.databases[ALIAS] = {
        **connections["default"].settings_dict,
        "NAME": at.path[1:],
        "USER": at.username,
        "PASSWORD": at.password,
        "HOST": at.hostname,
        "PORT": str(at.port),
    }
    with django_db_blocker.unblock():
        yield ALIAS
        connections[ALIAS].close()
    del connections[ALIAS]
    del connections.databases[ALIAS]


def write_rows_of_then(apps: Apps, alias: str) -> None:
    """Write what a run of the first release left."""
    now = timezone.now()
    run = apps.get_model("maintenance", "Run").objects.using(alias).create(
        task="maintenance.review_activity", target="default", queue="high", trigger="beat",
        schedule="daily", scheduled_for=now, state="succeeded", queued_at=now, started_at=now,
        finished_at=now, severity="warning", summary=REPORT.summary,
    )  # fmt: skip
    finding = REPORT.findings[0]
    apps.get_model("maintenance", "StoredReport").objects.using(alias).create(
        run=run, schema_version=1, body=REPORT.to_json(), created_at=now
    )
    apps.get_model("maintenance", "StoredFinding").objects.using(alias).create(
        run=run, fingerprint="0123456789abcdef", code=finding.code, severity="warning",
        target="default", subject=finding.subject, sentence=finding.sentence, found_at=now,
    )  # fmt: skip
    apps.get_model("maintenance", "StoredSample").objects.using(alias).create(
        run=run, target="default", metric="sessions", value=3.0, measured_at=now
    )


def test_rows_of_the_first_release_are_read_by_the_newest(database: str) -> None:
    executor = MigrationExecutor(connections[database])
    executor.migrate([FIRST])
    write_rows_of_then(executor.loader.project_state([FIRST]).apps, database)

    newest = MigrationExecutor(connections[database])
    newest.migrate(newest.loader.graph.leaf_nodes())

    run = Run.objects.using(database).get()
    assert (run.state, run.schedule, run.severity) == (RunState.SUCCEEDED, "daily", "warning")
    stored = StoredReport.objects.using(database).get(run=run)
    assert Report.from_json(stored.body).to_json() == REPORT.to_json()
    assert StoredFinding.objects.using(database).get().sentence == REPORT.findings[0].sentence
    assert StoredSample.objects.using(database).get().value == 3.0
    assert (
        Run.objects.using(database)
        .create(
            task=run.task, target=run.target, queue="high", trigger="cli", queued_at=timezone.now()
        )
        .pk
    )  # what is new has defaults that an old row's columns share
