"""The sample site's access log: what is planted in it is named, and nothing else."""

import tomllib
from datetime import date
from pathlib import Path

from maintenance.conf import Thresholds, parse_configuration
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.web.access_log import review_error_rates
from service.sample_site import access_log
from service.sample_site.truth import FaultKind

AS_OF = date(2026, 11, 26)


def reviewed(folder: Path, monkeypatch) -> Report:
    path = folder / "access.log"
    access_log.write(path, AS_OF, seed=20)
    monkeypatch.setenv("SITE_ACCESS_LOG", str(path))
    toml = Path(access_log.__file__).with_name("maintenance.toml").read_text()
    target = parse_configuration(tomllib.loads(toml)).logs["site"]
    return review_error_rates(Job("site", target, NoOptions()), Thresholds(), "UTC")


def test_each_planted_fault_is_named_and_no_decoy(tmp_path, monkeypatch):
    report = reviewed(tmp_path, monkeypatch)
    burst, slow = access_log.faults(AS_OF)
    named = {(f.code, f.subject): f for f in report.findings}
    found = named["server-error-burst", burst.subject]
    assert found.evidence["first_minute"] == burst.expected["first_minute"]
    assert found.evidence["route_errors"] == burst.expected["server_errors"]
    assert named["slow-route", slow.subject].evidence["requests"] == slow.expected["requests"]
    (decoy,) = access_log.decoys()
    assert decoy.kind is FaultKind.SLOW_ROUTE
    assert decoy.subject not in {f.subject for f in report.findings}
    assert report.facts["malformed_lines"] == 0


def test_the_same_seed_writes_the_same_log(tmp_path):
    for name in ("one", "two"):
        access_log.write(tmp_path / name, AS_OF, seed=3)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
