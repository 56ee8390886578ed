"""The monthly audit on a site with planted faults, and a month of the ledger before it."""

import json
import secrets
import tomllib
from collections.abc import Iterator
from contextlib import suppress
from datetime import timedelta
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings
from django.utils import timezone

from maintenance.audit.run import run_performance_audit
from maintenance.conf import configuration
from maintenance.core.attention.mutes import mute
from maintenance.core.errors import Postponed
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import ReportDocument
from maintenance.core.runs.ledger import stored_document
from maintenance.models import Run, RunState, StoredFinding, StoredSample
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.valkey import EmbeddedValkey
from service.sample_site import build, slots
from tests.ledger_rows import finished_run, queued_run

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.django_db(transaction=True)

#: The script of the guide, each command with what makes its output one document.
SCRIPT = (
    ("analyze_db_performance",),
    ("health_check", "--check", "database", "redis_activity", "disk", "schedule", "reports"),
    ("check_data_integrity",),
    ("profile_queries", "--min-duration", "100"),
)
#: What the checklists would have run by the first of a month; what writes only looks.
TASKS = (
    *("review_slow_queries", "report_unused_indexes", "report_redundant_indexes"),
    *("report_missing_indexes", "report_table_bloat", "report_index_bloat", "review_activity"),
    *("review_vacuum_health", "review_database_server", "review_database_cache_hit_ratio"),
    *("review_database_growth", "review_database_settings", "check_data_integrity"),
    *("vacuum_analyze", "check_redis_memory", "check_disk_space"),
)
TARGETS = {"check_redis_memory": "site", "check_disk_space": "local"}


@pytest.fixture(scope="module")
def settings(postgres_server: EmbeddedPostgres, server_root: Path) -> Iterator[dict[str, Any]]:
    """The configuration of a sample site of its own, as far as it lies on servers."""
    name = f"audited_{secrets.token_hex(6)}"
    postgres_server.ensure_database(name)
    with EmbeddedValkey(
        server_root / "audited-site", secrets.token_hex(16), settings={"appendonly": "no"}
    ) as valkey:
        urls = {"SITE_DATABASE_URL": postgres_server.url(name), "SITE_REDIS_URL": valkey.url(0)}
        build(*urls.values(), scale=0.05, seed=20)
        text = (ROOT / "service/sample_site/maintenance.toml").read_text()
        for variable, url in urls.items():
            text = text.replace(f"env:{variable}", url)
        read = tomllib.loads(text)
        yield {name: read[name] for name in ("databases", "redis", "thresholds")}


def command(*words: str) -> str:
    """Run a command and return what it printed."""
    out = StringIO()
    with suppress(SystemExit):
        call_command(*words, stdout=out, stderr=StringIO())
    return out.getvalue()


def run_task(task: str, *words: str) -> Run:
    """Run a task in this process."""
    command("maintenance", "run", task, "--now", *words)
    return Run.objects.filter(task=f"maintenance.{task}").latest("queued_at")


def audit() -> ReportDocument:
    """Run the audit in this process."""
    run = run_task("run_performance_audit")
    assert run.state == RunState.SUCCEEDED, run.reason
    return stored_document(run)


def said_by_script(words: tuple[str, ...]) -> set[tuple[str, str]]:
    """Code and subject of every warning and worse that a command of the script prints."""
    document = json.loads(command(*words, "--format", "json"))
    return {
        (finding["code"], finding["subject"])
        for report in document["reports"]
        for finding in report["findings"]
        if finding["severity"] in {"warning", "critical"}
    }


def test_the_audit_has_all_that_the_script_of_the_guide_prints(settings: dict[str, Any]) -> None:
    with override_settings(MAINTENANCE=settings):
        printed = {words[0]: said_by_script(words) for words in SCRIPT}
        for task in TASKS:
            dry = ("--dry-run",) if task == "vacuum_analyze" else ()
            run = run_task(task, "--target", TARGETS.get(task, "site"), *dry)
            assert run.state == RunState.SUCCEEDED, (task, run.reason)
        report = audit().report

    audited = {(f.code, f.subject.removeprefix("site: ")) for f in report.findings}
    assert len(printed["analyze_db_performance"]) > 20
    for name, findings in printed.items():
        assert findings - audited == set(), name
    for planted in (
        ("duplicate-index", "public.library_follow.library_follow_user_object_id_idx"),
        ("orphaned-rows", "library_status_book_id_fkey"),
    ):
        assert any(planted[0] == code for code, _ in audited), planted
    titles = [table.title for table in report.tables]
    assert "Subjects" in titles
    assert "All findings, worst first" in titles
    assert any(title.startswith("report_table_bloat site: ") for title in titles)
    assert "critical" in report.summary


def test_the_change_since_a_month_ago_is_in_summary_table_and_plot() -> None:
    month, now = timedelta(days=31), timezone.now()
    full = Finding("disk-space", Severity.CRITICAL, "/", "The disk is 95 % full.")
    before = Finding("disk-space", Severity.WARNING, "/", "The disk is 85 % full.")
    old = finished_run("check_disk_space", "local", findings=[before], age=month)
    Run.objects.filter(id=old.id).update(finished_at=now - month)
    new = finished_run("check_disk_space", "local", findings=[full])
    for run, days, value in ((old, 31, 0.85), (new, 0, 0.95)):
        StoredSample.objects.create(
            run=run, target="local", metric="disk_used_ratio", subject="/", value=value,
            measured_at=now - timedelta(days=days),
        )  # fmt: skip

    with override_settings(MAINTENANCE={}):
        document = audit()
        page = command("maintenance", "reports", "show", document.run.run_id, "--format", "html")

    report = document.report
    assert "0 findings are new, 1 worse, 0 gone" in report.summary
    assert "1 of 1 target missed: disk used local /" in report.summary
    (plot,) = report.plots
    assert [value for _, value in plot.points] == [0.85, 0.95]
    assert page.count("<polyline") == 1
    assert "newest 95.0 %, lowest 85.0 %, highest 95.0 %" in page
    assert "@page" in page


def test_what_other_tasks_found_is_in_its_report_and_is_not_listed_twice() -> None:
    full = Finding("disk-space", Severity.CRITICAL, "/", "The disk is 95 % full.")
    old = Finding("disk-space", Severity.WARNING, "/var", "The disk is 85 % full.")
    finished_run("check_disk_space", "local", findings=[full, old])
    slots.plant(timezone.now())  # a record of schedules, which an old backup may have brought
    muted = StoredFinding.objects.get(subject="/var")
    mute(muted, reason="It is to be replaced.", by="tester", until=None, endless=True)

    with override_settings(MAINTENANCE={}):
        document = audit()

    assert "disk-space" in {finding.code for finding in document.report.findings}
    assert "/var" not in str(document.report.to_json())
    run = Run.objects.get(id=document.run.run_id)
    assert run.severity == Severity.CRITICAL
    of_schedules = [f for f in document.report.findings if f.code == "no-schedule"]
    assert [f.severity for f in of_schedules] == [Severity.INFO]  # no scheduler ever led
    listed = set(StoredFinding.objects.filter(run=run).values_list("code", flat=True))
    assert "audit-subject-missing" in listed
    assert "disk-space" not in listed


def test_it_waits_for_runs_that_belong_into_it() -> None:
    queued_run("check_disk_space", "local")
    job = Job("", None, NoOptions(), run_id="1" * 32)

    with override_settings(MAINTENANCE={}), pytest.raises(Postponed, match="check_disk_space"):
        run_performance_audit(job, configuration())

    Run.objects.update(queued_at=timezone.now() - timedelta(hours=1))
    with override_settings(MAINTENANCE={}):
        report = run_performance_audit(job, configuration())
    assert "audit-subject-missing" in {finding.code for finding in report.findings}
