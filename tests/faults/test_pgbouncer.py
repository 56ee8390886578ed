"""A real PgBouncer in transaction mode in front of the server: refused, and passed by."""

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlsplit

import psycopg2
import pytest

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.errors import ConfigurationError
from maintenance.core.job import Job
from maintenance.core.plans import Verdict
from maintenance.postgres.vacuum.options import VacuumOptions
from maintenance.postgres.vacuum.run import vacuum_analyze
from service.embedded.account import server_account
from service.embedded.ports import free_port
from tests.polling import eventually
from tests.postgres_clients import ask

pytestmark = pytest.mark.skipif(
    shutil.which("pgbouncer") is None, reason="needs PgBouncer (apt-get install pgbouncer)"
)

_CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server_port}

[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = plain
auth_file = {users}
pool_mode = transaction
ignore_startup_parameters = extra_float_digits
server_check_delay = 0
"""


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    url = make_database()
    ask(url, "CREATE TABLE t AS SELECT i AS id FROM generate_series(1, 1000) AS i")
    return url


@pytest.fixture
def pooled(url: str, server_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of the database through a PgBouncer."""
    parts = urlsplit(url)
    folder = server_root / tmp_path_factory.mktemp("pgbouncer").name
    folder.mkdir()
    users, configuration = folder / "users.txt", folder / "pgbouncer.ini"
    users.write_text(f'"{parts.username}" "{parts.password}"\n')
    port = free_port()
    text = _CONFIGURATION.format(server_port=parts.port, port=port, users=users)
    configuration.write_text(text)
    account = server_account()
    if account is not None:
        for path in (folder, users, configuration):
            shutil.chown(path, account.uid, account.gid)
    process = subprocess.Popen(
        ["pgbouncer", "-q", str(configuration)],
        user=account.uid if account else None,
        group=account.gid if account else None,
        stderr=subprocess.DEVNULL,
    )
    try:
        through = url.replace(f":{parts.port}/", f":{port}/")
        eventually(lambda: _answers(through), 20, "PgBouncer answers")
        yield through
    finally:
        process.terminate()
        process.wait(20)


def _answers(url: str) -> bool:
    try:
        return ask(url, "SELECT 1") == [(1,)]
    except psycopg2.OperationalError:
        return False


def test_a_repair_through_a_pooler_is_refused_with_the_way_out(pooled: str) -> None:
    job = Job("site", DatabaseTarget(url=pooled), VacuumOptions(mode="all", tables=("t",)))
    with pytest.raises(ConfigurationError, match='Set "direct_url" of this target'):
        vacuum_analyze(job, Thresholds())


def test_a_direct_url_passes_it_by(pooled: str, url: str) -> None:
    target = DatabaseTarget(url=pooled, direct_url=url)
    job = Job("site", target, VacuumOptions(mode="all", tables=("t",)))
    outcomes = {o.action.subject: o for o in vacuum_analyze(job, Thresholds()).outcomes}
    assert outcomes["public.t"].verdict is Verdict.WORKED
    locks = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'"
    assert ask(pooled, locks) == [(0,)]
