"""The sample site's files: each planted fault is named, each decoy is not."""

import tomllib
from pathlib import Path

import pytest

from maintenance.conf import parse_configuration
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.deployment.review import review_server_configuration
from service.sample_site import server_configuration
from service.sample_site.truth import ANALYSED_BY, FaultKind
from service.up.planted import _says

TOML = Path(server_configuration.__file__).with_name("maintenance.toml")


@pytest.fixture
def report(monkeypatch: pytest.MonkeyPatch) -> Report:
    for name, path in server_configuration.FILES.items():
        monkeypatch.setenv(name, str(path))
    configured = parse_configuration(tomllib.loads(TOML.read_text()))
    # The files alone: the servers of the demonstration are looked at in it.
    target = configured.deployments["site"].model_copy(update={"database": "", "redis": ()})
    return review_server_configuration(Job("site", target, NoOptions()), configured)


def test_each_planted_fault_is_named_and_no_decoy(report: Report):
    told = str(report.to_json()["findings"])
    for fault in server_configuration.faults():
        assert _says(fault.subject, told), fault.subject
    for decoy in server_configuration.decoys():
        assert not _says(decoy.subject, told), decoy.subject
    assert ANALYSED_BY[FaultKind.MISCONFIGURED_SERVER] == "review_server_configuration"


def test_nothing_else_of_weight_is_wrong_with_them(report: Report):
    assert {f.code for f in report.findings if f.severity.rank > 1} == {
        "nginx-alias-escapes",
        "nginx-cache-for-logged-in",
        "gunicorn-renewed-together",
        "celery-delivered-twice",
    }
    assert all(finding.measured for finding in report.findings)
