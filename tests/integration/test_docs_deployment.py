"""What docs/deployment.md shows: Nginx takes it, and commands work on real servers and beside a real web.

What systemd and runuser do is stood in for: the one names web's process id, the other changes no user.
"""

import os
import shlex
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import which
from signal import SIGKILL
from urllib.parse import unquote, urlsplit

import pytest
import redis

from deploy import systemd
from deploy.programs import read_programs
from deploy.secrets_folder import write_secrets
from maintenance.conf import RedisTarget
from maintenance.core.errors import MissingRights
from maintenance.redis_client.connection import session
from service.embedded.binaries import locate_postgres, locate_valkey
from service.embedded.leash import leashed
from service.embedded.ports import LOOPBACK, free_port
from service.embedded.postgres import EmbeddedPostgres
from service.secret_files import adopt_secret_files
from tests.code_blocks import blocks_of, code_blocks
from tests.integration.test_service_tls import certificate
from tests.local_containers import ProcessContainer
from tests.nginx import assert_nginx_takes, needs_nginx
from tests.polling import eventually
from tests.postgres_clients import ask
from tests.up_process import ROOT, clean_environment


@dataclass(frozen=True, slots=True)
class Machine:
    """A folder in place of ``/``: secrets as ``make secrets`` writes them, and programs that stand in."""

    folder: Path

    @property
    def secrets(self) -> Path:
        return self.folder / "secrets"

    def stand_in(self, program: str, line: str) -> None:
        """Put a program on the PATH that executes a line of sh."""
        path = self.folder / "bin" / program
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{line}\n")
        path.chmod(0o755)

    def execute(self, script: str, **environment: str) -> str:
        """Run lines of the guide in bash; return what they print."""
        for there, here in (
            (systemd.CONFIGURATION, str(self.folder)),
            (systemd.ROOT, str(ROOT)),
            (".venv/bin/python", sys.executable),
        ):
            script = script.replace(there, here)
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        done = subprocess.run(
            ["bash", "-e", "-o", "pipefail", "-c", script],
            env=clean_environment() | {"PATH": path, **environment},
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def environment_of_web(self, **addresses: str) -> dict[str, str]:
        """Return what the unit of web has in its environment, with what an operator adds."""
        unit = systemd.units(read_programs())["maintenance-web.service"]
        lines = [line.removeprefix("Environment=") for line in unit.splitlines()]
        given = dict(
            word.split("=", 1) for line in lines for word in shlex.split(line) if "=" in word
        )
        names = [secret.variable for program in read_programs() for secret in program.secrets]
        files = {
            name: given[name].replace("%d", str(self.secrets)) for name in names if name in given
        }
        assert "DATABASE_PASSWORD_FILE" in files
        settings = {"DJANGO_SETTINGS_MODULE": given["DJANGO_SETTINGS_MODULE"]}
        return {**settings, **files, "MAINTENANCE_STATE": str(self.folder), **addresses}


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    """A machine on which the secrets are written, and nothing else is done."""
    write_secrets(tmp_path / "secrets")
    made = Machine(tmp_path)
    made.stand_in("runuser", 'while [ "$1" != -- ]; do shift; done; shift; exec "$@"')
    return made


@pytest.fixture
def open_redis(machine: Machine, tmp_path: Path) -> Iterator[int]:
    """The port of a server without a password, which ``redis-cli`` finds."""
    port = free_port()
    configuration = tmp_path / "redis.conf"
    configuration.write_text(f'port {port}\nbind {LOOPBACK}\ndir {tmp_path}\nsave ""\n')

    def answers() -> bool:
        try:
            with redis.Redis(LOOPBACK, port) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    command = [str(locate_valkey().server), str(configuration)]
    server = ProcessContainer("open", lambda _node: command, tmp_path, is_up=answers)
    client = which("valkey-cli") or which("redis-cli")
    assert client, "neither valkey-cli nor redis-cli is installed (Debian: redis-tools)"
    machine.stand_in("redis-cli", f'exec {client} -h {LOOPBACK} -p {port} "$@"')
    yield port
    server.remove()


def block_with(words: str) -> str:
    """Return the block of the guide in which some words stand."""
    [text] = [text for _language, text in code_blocks("docs/deployment.md") if words in text]
    return text


def ping(address: str) -> bool:
    """Say that tasks can look at a server; raise as they do where they cannot."""
    with session(RedisTarget(url=address)) as client:
        return bool(client.ping())


def test_the_servers_get_the_passwords_that_were_made_up(
    machine: Machine, open_redis: int, postgres_server: EmbeddedPostgres
) -> None:
    at = urlsplit(postgres_server.url())
    psql = locate_postgres().bindir / "psql"
    machine.stand_in("psql", f'exec {psql} "$@"')
    superuser = {
        "PGHOST": LOOPBACK,
        "PGPORT": str(at.port),
        "PGUSER": at.username or "",
        "PGPASSWORD": unquote(at.password or ""),
    }
    try:
        machine.execute(block_with("CREATE ROLE"), **superuser)
        environment = machine.environment_of_web(
            DATABASE_URL=f"postgres://maintenance@{LOOPBACK}:{at.port}/maintenance",
            REDIS_URL=f"redis://{LOOPBACK}:{open_redis}/0",
        )
        adopt_secret_files(environment)
        ask(environment["DATABASE_URL"], "CREATE TABLE it_may_do_so ()")
        assert ping(environment["REDIS_URL"])
    finally:
        ask(postgres_server.url(), "DROP DATABASE IF EXISTS maintenance (FORCE)")
        ask(postgres_server.url(), "DROP ROLE IF EXISTS maintenance")
    # Also after its next start.
    password = (machine.secrets / "redis_password").read_text().strip()
    assert password in (machine.folder / "redis.conf").read_text()


def test_a_redis_without_a_password_takes_none_and_an_emptied_file_sends_none(
    machine: Machine, open_redis: int
) -> None:
    address = f"redis://{LOOPBACK}:{open_redis}/0"
    with_password = machine.environment_of_web(REDIS_URL=address)
    adopt_secret_files(with_password)
    with pytest.raises(MissingRights, match="without any password configured"):
        ping(with_password["REDIS_URL"])

    machine.execute(block_with(": > /etc/maintenance/secrets/redis_password"))

    without = machine.environment_of_web(REDIS_URL=address)
    adopt_secret_files(without)
    assert without["REDIS_URL"] == address
    assert ping(without["REDIS_URL"])


@contextmanager
def web(environment: dict[str, str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Web as its unit starts it, on a port of its own."""
    [unit] = [program for program in read_programs() if program.name == "web"]
    *words, address = unit.at(address=LOOPBACK, state="").commands[0][1:]
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", *words, address.replace(":8000", f":{port}")]
    with log.open("wb") as out:
        process = subprocess.Popen(
            leashed(command, signal=SIGKILL),
            cwd=ROOT,
            env=clean_environment(**environment),
            stdout=out,
            stderr=subprocess.STDOUT,
        )

    def answers() -> bool:
        assert process.poll() is None, log.read_text()
        with socket.socket() as client:
            return client.connect_ex((LOOPBACK, port)) == 0

    try:
        eventually(answers, 120, "web answers")
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.timeout(600)
def test_commands_by_hand_have_the_environment_of_web_which_holds_no_secret(
    machine: Machine, make_database: Callable[[], str]
) -> None:
    url = make_database()
    at = urlsplit(url)
    # A server that has a password already: it is written into the file.
    (machine.secrets / "postgres_password").write_text(unquote(at.password or "") + "\n")
    environment = machine.environment_of_web(
        DATABASE_URL=f"postgres://{at.username}@{LOOPBACK}:{at.port}{at.path}",
        REDIS_URL=f"redis://{LOOPBACK}:1/0",
        DEFAULT_FROM_EMAIL="The crew <crew@example.org>",
    )
    function, then, _examples = block_with("manage() {").partition("manage createsuperuser")
    assert then
    with web(environment, machine.folder / "web.log") as process:
        machine.stand_in("systemctl", f"echo {process.pid}")
        machine.execute(function + "manage migrate --noinput --verbosity 0")
        machine.execute(
            function + "manage createsuperuser --noinput --username ann --email ann@example.org",
            DJANGO_SUPERUSER_PASSWORD="correct horse",
        )
        asked = (
            'manage shell -c "from django.conf import settings; print(settings.DEFAULT_FROM_EMAIL)"'
        )
        assert "The crew <crew@example.org>" in machine.execute(function + asked)
        given = Path(f"/proc/{process.pid}/environ").read_text()
    assert ask(url, "SELECT username FROM auth_user WHERE is_superuser") == [("ann",)]
    assert str(machine.secrets / "postgres_password") in given
    for secret in machine.secrets.iterdir():
        assert not secret.read_text() or secret.read_text().strip() not in given


@needs_nginx
def test_nginx_takes_the_tls_proxy_which_knows_the_ports_of_web_and_flower(tmp_path: Path) -> None:
    [proxy] = blocks_of("docs/deployment.md", "nginx")
    public, key = certificate(tmp_path)
    here = proxy
    for there, found in (
        ("/etc/ssl/maintenance/fullchain.pem", public),
        ("/etc/ssl/maintenance/privkey.pem", key),
        ("listen 80;", f"listen {LOOPBACK}:{free_port()};"),
        ("listen 443 ssl;", f"listen {LOOPBACK}:{free_port()} ssl;"),
    ):
        assert there in here
        here = here.replace(there, str(found))
    assert_nginx_takes(here, tmp_path)
    for program, option in (("web", "--bind "), ("flower", "--port=")):
        [unit] = [one for one in read_programs() if one.name == program]
        command = " ".join(unit.at(address=LOOPBACK, state="").commands[0])
        port = command.partition(option)[2].split()[0].rpartition(":")[2]
        assert f"proxy_pass http://{LOOPBACK}:{port};" in proxy
