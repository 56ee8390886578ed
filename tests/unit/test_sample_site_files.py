"""Media files and the performance log of the sample site: what they hold is what the truth says."""

from datetime import UTC, datetime
from pathlib import Path

import pytest

from maintenance.conf import MediaTarget
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.web.images import orphans, run
from maintenance.web.images.options import OptimizeOptions
from maintenance.web.images.references import NameSource
from maintenance.web.n_plus_one import review_n_plus_one
from service.sample_site import media, performance_log
from service.sample_site.truth import FaultKind

NAMES = [f"covers/{number}.jpg" for number in range(8)]
NOW = datetime.now(UTC)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    media.write(tmp_path, NAMES, NOW, seed=7)
    return tmp_path


def target(folder: Path) -> MediaTarget:
    return MediaTarget(path=str(folder), allow=("rewrite_images",))


def test_the_same_seed_writes_the_same_files(
    folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    other = tmp_path_factory.mktemp("other")
    media.write(other, NAMES, NOW, seed=7)
    contents = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for root in (folder, other)
        for path in root.rglob("*.jpg")
    }
    assert len(contents) == len(NAMES) + 2
    assert all((folder / name).read_bytes() == content for name, content in contents.items())


def test_images_are_named_that_are_too_large_or_do_harm_and_no_decoy(folder: Path) -> None:
    report = run.optimize_images(Job("site", target(folder), OptimizeOptions()))
    said = str(report.to_json())
    images = (FaultKind.OVERSIZED_IMAGE, FaultKind.HARMFUL_IMAGE)
    for fault in media.faults(NAMES):
        if fault.kind in images:
            assert fault.subject in said
    rewritten = {outcome.action.subject for outcome in report.outcomes}
    assert rewritten == {NAMES[media.LARGE]}


def test_the_forgotten_file_is_an_orphan_also_after_its_images_were_optimized(folder: Path) -> None:
    run.optimize_images(Job("site", target(folder), OptimizeOptions()))
    report = orphans.report_orphaned_media(
        Job("site", target(folder), NoOptions()), lambda: [NameSource("covers", NAMES)]
    )
    said = str(report.to_json()["findings"])
    assert media.FORGOTTEN in said
    assert media.JUST_UPLOADED not in said


def test_the_repeated_query_is_named_with_its_line_and_the_harmless_one_is_not(
    tmp_path: Path,
) -> None:
    log = tmp_path / "performance.log"
    performance_log.write(log, NOW, seed=7)
    report = review_n_plus_one(Job("", None, NoOptions()), str(log))
    assert report.facts["log_malformed_lines"] == 0
    said = str(report.to_json()["findings"])
    assert performance_log.REPEATING_LINE in said
    assert performance_log.HARMLESS_LINE not in said
