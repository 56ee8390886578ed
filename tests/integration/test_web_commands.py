"""The tasks on media and static files as runs: in the ledger, by command, with their configuration."""

from contextlib import suppress
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from django.core.management import call_command
from django.test import override_settings

from maintenance.checks import check_configuration
from maintenance.core.runs.ledger import stored_document
from maintenance.models import Run, RunState, StoredSample
from tests.images import encoded, opened, picture, write
from tests.web_server import web_server

pytestmark = pytest.mark.django_db(transaction=True)

LARGE = encoded(picture(size=(900, 600)), "JPEG", quality=97)


def run(task: str, target: str, *words: str) -> Run:
    """Run a task in this process, and return its row."""
    with suppress(SystemExit):
        call_command(
            "maintenance", "run", task, "--target", target, "--now", *words,
            stdout=StringIO(), stderr=StringIO(),
        )  # fmt: skip
    return Run.objects.latest("queued_at")


@pytest.fixture
def media(tmp_path: Path) -> Path:
    folder = tmp_path / "media"
    write(folder, "covers/a.jpg", LARGE)
    write(folder, "covers/b.jpg", LARGE)
    return folder


def maintenance(media: Path, **more: Any) -> dict[str, Any]:
    return {
        "databases": {"site": {"alias": "default"}},
        "media": {"site": {"path": str(media), **more}},
    }


def test_images_are_left_alone_without_leave_and_looked_at_in_a_dry_run(media: Path) -> None:
    with override_settings(MAINTENANCE=maintenance(media)):
        refused = run("optimize_images", "site", "--yes")
        assert refused.state == RunState.SKIPPED
        assert 'allow = ["rewrite_images"]' in refused.reason
        looked = run("optimize_images", "site", "--dry-run")
        assert looked.state == RunState.SUCCEEDED, looked.reason
        assert "2 would be made smaller" in looked.summary
    assert (media / "covers/a.jpg").read_bytes() == LARGE


def test_runs_follow_one_another_through_the_ledger(media: Path) -> None:
    with override_settings(MAINTENANCE=maintenance(media, allow=["rewrite_images"])):
        first = run("optimize_images", "site", "--yes")
        assert first.state == RunState.SUCCEEDED, first.reason
        assert opened((media / "covers/a.jpg").read_bytes()).width == 800
        saved = StoredSample.objects.get(run=first, metric="images_saved_bytes", subject="JPEG")
        assert saved.value == stored_document(first).report.facts["saved_bytes"] > 0
        second = run("optimize_images", "site", "--yes")
        assert stored_document(second).report.facts["looked_at_before"] == 2


def test_orphans_are_named_by_command_and_removed_with_leave(media: Path) -> None:
    references = [{"database": "site", "sql": "SELECT 'covers/a.jpg'"}]
    rules = {"references": references, "orphan_minimum_age_seconds": 0, "allow": ["remove_media"],
             "orphan_share_limit_ratio": 0.5}  # fmt: skip
    with override_settings(MAINTENANCE=maintenance(media, **rules)):
        named = run("report_orphaned_media", "site")
        assert named.summary.startswith("1 file of 2"), named.reason
        removed = run("remove_orphaned_media", "site", "--yes")
        assert removed.state == RunState.SUCCEEDED, removed.reason
    assert [path.name for path in media.rglob("*.jpg")] == ["a.jpg"]


def test_static_files_are_reviewed_by_command() -> None:
    with web_server(lambda _path, _headers: (200, {}, b'<img src="/static/x.png">')) as server:
        sites = {"sites": {"main": {"url": server.url}}}
        with override_settings(MAINTENANCE=sites):
            reviewed = run("review_static_files", "main")
    assert reviewed.state == RunState.SUCCEEDED, reviewed.reason
    assert reviewed.severity == "warning"


def test_a_storage_that_does_not_exist_is_told_at_start() -> None:
    with override_settings(MAINTENANCE={"media": {"site": {"storage": "defualt"}}}):
        (fault,) = check_configuration(None)
    assert fault.id == "maintenance.E008"
    assert 'Did you mean "default"?' in fault.msg
