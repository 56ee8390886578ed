"""Disk space of the machine that runs the tests."""

import os
import shutil
from pathlib import Path

import pytest

from maintenance.conf import HostTarget, Thresholds
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.host.disk import check_disk_space


def check(*paths: str, **limits: float) -> Report:
    job = Job("local", HostTarget(paths=paths), NoOptions())
    return check_disk_space(job, Thresholds(**limits))


def cells(report: Report, row: int = 0) -> dict[str, object]:
    table = report.tables[0]
    return dict(zip(table.columns, table.rows[row], strict=True))


def test_the_numbers_are_those_of_the_file_system(tmp_path: Path) -> None:
    usage = shutil.disk_usage(tmp_path)
    found = cells(check(str(tmp_path)))
    assert found["size_bytes"] == usage.total
    assert found["used_bytes"] == pytest.approx(usage.used, rel=0.05, abs=10**9)
    assert os.path.ismount(str(found["mount_point"]))


def test_paths_on_one_file_system_are_one_row(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    report = check(str(tmp_path), str(inner), str(tmp_path))
    assert len(report.tables[0].rows) == 1
    assert cells(report)["paths"] == f"{tmp_path}, {inner}"


def test_a_path_that_does_not_exist_is_named_and_the_others_are_checked(tmp_path: Path) -> None:
    report = check(str(tmp_path / "gone"), str(tmp_path))
    assert [f.code for f in report.findings if f.subject.endswith("gone")] == ["disk-path-missing"]
    assert len(report.tables[0].rows) == 1
    assert "1 paths are out of reach" in report.summary


def test_with_every_path_missing_the_report_says_so() -> None:
    report = check("/no/such/place")
    assert report.summary == "No file system could be looked at: 1 paths are out of reach."
    assert report.tables == ()


def test_the_limits_of_the_configuration_decide(tmp_path: Path) -> None:
    used = float(str(cells(check(str(tmp_path)))["used_ratio"]))
    report = check(str(tmp_path), disk_warning_ratio=used * 0.5, disk_critical_ratio=1.0)
    assert "disk-space" in [finding.code for finding in report.findings]
