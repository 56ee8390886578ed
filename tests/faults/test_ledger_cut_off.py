"""A ledger whose host falls silent: the service's connections notice it while leases still count."""

import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from maintenance.core.scheduling.leadership import LEASE_SECONDS
from tests.command_line import ROOT
from tests.polling import eventually
from tests.postgres_clients import ask
from tests.relay import Relay
from tests.up_process import clean_environment
from tests.vanishing_address import ADDRESS, may_change_addresses, vanishing_address

pytestmark = pytest.mark.skipif(
    not may_change_addresses(), reason="needs root to take an address away"
)

#: A process of the service that asks the ledger when it is told to, and waits for the answer.
_ASKS = """
import sys, django
django.setup()
from django.db import connection
connection.ensure_connection()
print("connected", flush=True)
sys.stdin.readline()
connection.cursor().execute("SELECT pg_sleep(600)")
"""

_AT_WORK = (
    "SELECT 1 FROM pg_stat_activity WHERE state = 'active' AND query = 'SELECT pg_sleep(600)'"
)


@contextmanager
def service_process(url: str, folder: Path) -> Iterator["subprocess.Popen[str]"]:
    environment = clean_environment(
        DATABASE_URL=url, DJANGO_SETTINGS_MODULE="service.settings", MAINTENANCE_STATE=str(folder)
    )
    with subprocess.Popen(
        [sys.executable, "-c", _ASKS],
        cwd=ROOT,
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.parametrize("asks_after", [False, True], ids=["it waits", "it asks afterwards"])
def test_a_ledger_that_falls_silent_is_noticed_within_a_lease(
    make_database: Callable[[], str], tmp_path: Path, asks_after: bool
) -> None:
    url = make_database()
    port = urlsplit(url).port or 0
    with vanishing_address() as vanish, ExitStack() as ends:
        relay = Relay(port, at=ADDRESS)
        ends.callback(relay.cut)
        through = url.replace(f"@127.0.0.1:{port}/", f"@{ADDRESS}:{relay.port}/")
        with service_process(through, tmp_path) as process:
            assert process.stdout is not None
            assert process.stdin is not None
            assert process.stdout.readline() == "connected\n"
            if asks_after:
                vanish()
            process.stdin.write("\n")
            process.stdin.flush()
            if not asks_after:
                eventually(lambda: bool(ask(url, _AT_WORK)), 20, "the question is at the server")
                vanish()

            began = time.monotonic()
            _out, said = process.communicate(timeout=2 * LEASE_SECONDS)

    assert "django.db.utils.OperationalError" in said
    assert time.monotonic() - began < LEASE_SECONDS + 2  # Python's own end is in it
