"""Secrets are planted in every address of a site, workers fail on it, and Flower shows none of them."""

from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import flower_pages
from tests.planted_secrets import ENVIRONMENT, SECRETS, SITE_TOML
from tests.polling import eventually
from tests.up_process import FREE_PORTS, UpProcess, manage

pytestmark = pytest.mark.timeout(600)

#: Each task on each target whose address is a secret, where it can as a preview; a rate limit would take minutes.
START_ALL = """
from maintenance.conf import configuration
from maintenance.core.errors import UnknownName
from maintenance.core.runs.dispatch import start_run
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import TargetKind, all_tasks
from maintenance.models import Trigger
kinds = (TargetKind.DATABASE, TargetKind.REDIS, TargetKind.BROKER, TargetKind.CACHE)
for spec in all_tasks():
    if spec.target_kind in kinds and not spec.rate_limit:
        for target in spec.target_names(configuration()):
            options = {"dry_run": True} if spec.has_dry_run else {}
            start_run(spec, target, options, Origin(Trigger.CLI, actor="ann"))
"""
OF_ANN = "FROM maintenance_run WHERE actor = 'ann'"


@pytest.fixture(scope="module")
def up(server_root: Path) -> Iterator[UpProcess]:
    """A service that looks after the site of :mod:`tests.planted_secrets`."""
    folder = server_root / "secretive"
    config = server_root / "secretive.toml"
    config.write_text(SITE_TOML)
    planted = {"MAINTENANCE_CONFIG": str(config), **ENVIRONMENT}
    with UpProcess(folder, *FREE_PORTS, **planted) as process:
        yield process.wait_until_ready()


def test_no_secret_stands_on_a_page_of_flower(up: UpProcess) -> None:
    started = manage("shell", "-c", START_ALL, state=up.state, **ENVIRONMENT)
    assert started.returncode == 0, started.stderr
    at_work = f"SELECT 1 {OF_ANN} AND state IN ('queued', 'running')"
    eventually(lambda: not up.rows(at_work), 300, "all have ended")
    ends = dict(up.rows(f"SELECT state, count(*) {OF_ANN} GROUP BY state"))
    assert ends["failed"] > 30, ends
    runs = [str(run) for (run,) in up.rows(f"SELECT id {OF_ANN}")]

    port = urlsplit(up.address("Flower")).port or 0
    login = f"admin:{up.secrets()['flower_password']}"
    said = dict(flower_pages.what_flower_says(port, login, runs))
    assert sum(path.startswith("/worker/") for path in said) == 3
    assert "127.0.0.1:1" in "".join(said.values()), "servers that are not there were spoken of"
    leaks = [
        f"{name} on {path}: {text[max(text.find(secret) - 120, 0) :][:240]!r}"
        for name, secret in (up.secrets() | SECRETS).items()
        for path, text in said.items()
        if secret in text
    ]
    assert not leaks, "\n".join(leaks[:20])
