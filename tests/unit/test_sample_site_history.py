"""The sample site's year of measurements: what is planted in it is named, and no decoy."""

import tomllib
from collections import defaultdict
from datetime import UTC, datetime
from pathlib import Path

from maintenance.capacity.review import review_capacity
from maintenance.capacity.scaling import assess_scaling
from maintenance.capacity.targets import review_targets
from maintenance.conf import parse_configuration
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from service.sample_site import history
from service.sample_site.truth import FaultKind
from tests.capacity_series import NOW, Readings, read_from


def readings() -> Readings:
    found: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for target, metric, subject, value, _at in history.samples(
        datetime.fromtimestamp(NOW, UTC), 20
    ):
        found[target, metric, subject].append(value)
    return dict(found)


def test_each_planted_fault_is_named_by_its_task_and_no_decoy() -> None:
    toml = Path(history.__file__).with_name("maintenance.toml").read_text()
    site = parse_configuration(tomllib.loads(toml))
    read, job = read_from(readings()), Job("", None, NoOptions())
    reports = {
        "review_capacity": review_capacity(job, site, read, NOW),
        "assess_scaling": assess_scaling(job, site, read, NOW),
        "review_performance_targets": review_targets(job, site, read, NOW),
    }
    told = {
        task: " ".join(f.sentence for f in report.findings if f.measured)
        for task, report in reports.items()
    }
    for fault in history.faults():
        assert fault.subject in told[fault.analysed_by], fault
    for decoy in history.decoys():
        assert decoy.subject not in told["review_capacity"]
    disk = next(f for f in history.faults() if f.kind is FaultKind.DISK_FILLS_UP)
    (found,) = [
        f for f in reports["review_capacity"].findings if f.evidence.get("subject") == disk.subject
    ]
    about = datetime.fromisoformat(found.evidence["limit_about"]).replace(tzinfo=UTC)
    days_left = (about.timestamp() - NOW) / 86_400
    assert abs(days_left - float(disk.expected["days_left"])) < 6


def test_the_same_seed_gives_the_same_measurements() -> None:
    now = datetime.fromtimestamp(NOW, UTC)
    assert list(history.samples(now, 3)) == list(history.samples(now, 3))
