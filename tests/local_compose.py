"""The services of the compose files as processes of this machine, where no container engine is.

Commands, environment, health checks, order and grace are executed as the file has them. What a container
has of its own is mapped, and nothing else: host names and ports (two services may not listen on one port
here), the folders of secrets, state and data, and /tmp/alive. The entry point of PostgreSQL's image (it
makes a cluster, a role and a database) is stood in for by our embedded server, with the settings of the
command; a profile without servers gets those that its variables name. Namespaces, limits, users and the
read-only root are the engine's, and not proved here.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from shutil import which
from types import TracebackType
from typing import Self

import psycopg2

from deploy.secrets_folder import write_secrets
from service.embedded.binaries import locate_postgres, locate_valkey
from service.embedded.leash import leashed
from service.embedded.ports import LOOPBACK, free_port
from service.embedded.postgres import EmbeddedPostgres
from service.secret_files import with_password
from tests.compose_file import COMPOSE_FILE, ROOT, ComposeService, read_compose
from tests.polling import eventually

#: A migration, and workers that load Django at once, on a machine that has other tests to run.
HEALTHY_SECONDS = 300.0
HEALTHY, DONE = "service_healthy", "service_completed_successfully"


class LocalCompose:
    """``docker compose up`` of a profile; leaving the context kills what is left.

    ``variables`` are those of .env. Secrets that are there already stay as they are.
    """

    def __init__(
        self,
        folder: Path,
        scale: Mapping[str, int] | None = None,
        *,
        profile: str = "all",
        files: Sequence[Path] = (COMPOSE_FILE,),
        variables: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.services = read_compose(variables, profile, files)
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        self.started: list[str] = []
        self._quiet_from: dict[str, int] = {}
        self._scale = scale or {}
        self._secrets = folder / "secrets"
        for name in ("state", "redis", "bin"):
            (folder / name).mkdir()
        write_secrets(self._secrets)
        self.ports = {name: free_port() for name in ("redis", "web", "flower")}
        given = variables or {}
        self._configuration = given.get("MAINTENANCE_TOML", "")
        self._signing = given.get("MAINTENANCE_SIGNING", "")
        self._postgres: EmbeddedPostgres | None = None
        if "postgres" in self.services:
            self._postgres = EmbeddedPostgres(
                folder / "postgres",
                self.secret("postgres_password"),
                settings={"fsync": "off", **_settings(self.services["postgres"].command)},
            )
            redis_cli = which("valkey-cli") or which("redis-cli")
            assert redis_cli, "neither valkey-cli nor redis-cli is installed (Debian: redis-tools)"
            (folder / "bin" / "valkey-cli").symlink_to(redis_cli)
            (folder / "bin" / "valkey-server").symlink_to(locate_valkey().server)

    def secret(self, name: str) -> str:
        """Return what stands in a secret's file."""
        return (self._secrets / name).read_text().strip()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        for process in self.processes.values():
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)  # and what a shell has started
                process.wait()
        if self._postgres is not None:
            self._postgres.stop()

    def up(self) -> Self:
        """Start all services, each once the conditions that it names hold."""
        for service in self.services.values():
            for before, condition in service.depends_on.items():
                self._await(before, condition)
            for instance in self.instances(service.name):
                self.start(instance)
        for service in self.services.values():
            if service.health:
                self._await(service.name, HEALTHY)
        return self

    def down(self) -> dict[str, int]:
        """Ask all to end, those first on which none depends any more; return the exit codes.

        Raises ``TimeoutExpired`` for the first that takes longer than its grace.
        """
        codes: dict[str, int] = {}
        left = dict(self.services)
        while left:
            needed = {before for service in left.values() for before in service.depends_on}
            free = [name for name in left if name not in needed]
            going = [
                each for name in free for each in self.instances(name) if each in self.processes
            ]
            for instance in going:
                self.processes[instance].send_signal(signal.SIGTERM)
            for instance in going:
                grace_seconds = self.service_of(instance).grace_seconds
                codes[instance] = self.processes[instance].wait(grace_seconds)
            for name in free:
                del left[name]
        return codes

    def instances(self, name: str) -> list[str]:
        """Return the names of its containers, as Compose numbers them."""
        count = self._scale.get(name, self.services[name].replicas)
        return [f"{name}-{number}" for number in range(1, count + 1)]

    def start(self, instance: str) -> None:
        """Start one container's command."""
        self.started.append(instance)
        service = self.service_of(instance)
        if service.name == "postgres" and self._postgres is not None:
            self._start_postgres(self._postgres)
            return
        (self.folder / f"{instance}.alive").unlink(missing_ok=True)  # a container's /tmp is new
        with (self.folder / f"{instance}.log").open("ab") as log:
            self.processes[instance] = subprocess.Popen(
                leashed(
                    [self._mapped(word, instance) for word in service.command],
                    signal=signal.SIGKILL,
                ),
                cwd=ROOT,
                env=self.environment(instance),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def restart(self, instance: str) -> None:
        """Kill a container's command and start it again; a database is asked to end."""
        if self.service_of(instance).name == "postgres":
            assert self._postgres is not None
            self._postgres.stop()
            self._postgres.start()
            return
        os.killpg(self.processes[instance].pid, signal.SIGKILL)
        self.processes[instance].wait()
        self.start(instance)

    def service_of(self, instance: str) -> ComposeService:
        """Return the service that a container is of."""
        return self.services[instance.rpartition("-")[0]]

    def environment(self, instance: str) -> dict[str, str]:
        """Return what a container's command finds: what the file says, and a path to programs."""
        folders = [
            str(self.folder / "bin"),
            str(Path(sys.executable).parent),
            str(locate_postgres().bindir),
        ]
        given = {
            name: self._mapped(str(value), instance)
            for name, value in self.service_of(instance).environment.items()
        }
        own_port = {} if self._postgres is None else {"PGPORT": str(self._postgres.port)}
        # Celery warns root for the sake of pickle; a container's user is not root.
        return {
            "PATH": ":".join([*folders, os.environ["PATH"]]),
            "PYTHONWARNINGS": "ignore:You're running the worker",
            **own_port,
            **given,
        }

    def run(self, instance: str, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command beside a service's, as ``docker compose exec`` does."""
        return subprocess.run(
            command,
            cwd=ROOT,
            env=self.environment(instance),
            capture_output=True,
            text=True,
            timeout=240,
            check=False,
        )

    def is_healthy(self, instance: str) -> bool:
        """Ask the health check of its service once."""
        kind, *words = self.service_of(instance).health
        mapped = [self._mapped(word, instance) for word in words]
        command = ["sh", "-c", *mapped] if kind == "CMD-SHELL" else mapped
        return self.run(instance, *command).returncode == 0

    def await_health(self, instance: str) -> None:
        """Return once its health check says that it works; fail where it has ended."""

        def is_up() -> bool:
            process = self.processes.get(instance)
            assert process is None or process.poll() is None, self.log(instance)
            return self.is_healthy(instance)

        eventually(is_up, HEALTHY_SECONDS, f"{instance} is healthy\n{self.log(instance)}")

    def log(self, instance: str, *, quiet: bool = False) -> str:
        """Return what a container has printed; of ``quiet`` times, since servers were last restarted."""
        path = self.folder / f"{instance}.log"
        printed = path.read_bytes() if path.exists() else b""
        return printed[self._quiet_from.get(instance, 0) if quiet else 0 :].decode(errors="replace")

    def logs_are_quiet_from_here(self) -> None:
        """Note that what stands in the logs by now is about servers that were away."""
        for path in self.folder.glob("*.log"):
            self._quiet_from[path.stem] = path.stat().st_size

    def ledger(self, query: str, parameters: Sequence[object] = ()) -> list[tuple]:  # type: ignore[type-arg]
        """Run a query on the ledger, as the services do."""
        address = self.environment("web-1")["DATABASE_URL"]
        with (
            closing(
                psycopg2.connect(with_password(address, self.secret("postgres_password")))
            ) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []

    def _await(self, name: str, condition: str) -> None:
        if name not in self.services:  # of another profile, and not required
            return
        for instance in self.instances(name):
            if condition == DONE:
                code = self.processes[instance].wait(HEALTHY_SECONDS)
                assert code == 0, self.log(instance)
            else:
                self.await_health(instance)

    def _start_postgres(self, server: EmbeddedPostgres) -> None:
        server.start()
        given = self.services["postgres"].environment
        with closing(psycopg2.connect(server.url())) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(
                    f"CREATE ROLE {given['POSTGRES_USER']} SUPERUSER LOGIN PASSWORD %s",
                    [self.secret("postgres_password")],
                )
                cursor.execute(
                    f"CREATE DATABASE {given['POSTGRES_DB']} OWNER {given['POSTGRES_USER']}"
                )

    def _mapped(self, text: str, instance: str) -> str:
        redis, web, flower = (self.ports[name] for name in ("redis", "web", "flower"))
        postgres = self._postgres.port if self._postgres is not None and "5432" in text else ""
        for ours, here in (
            ("postgres:5432", f"{LOOPBACK}:{postgres}"),
            ("redis:6379", f"{LOOPBACK}:{redis}"),
            ("--port 6379", f"--bind {LOOPBACK} --port {redis}"),
            ("-p 6379", f"-p {redis}"),
            ("@%h", f"@{instance}"),
            ("/run/secrets", str(self._secrets)),
            ("/etc/maintenance.toml", self._configuration),
            ("/etc/maintenance/signing", self._signing),
            ("dir /data", f"dir {self.folder / 'redis'}"),
            ("/var/lib/maintenance", str(self.folder / "state")),
            ("/tmp/alive", str(self.folder / f"{instance}.alive")),
            ("0.0.0.0:8000", f"{LOOPBACK}:{web}"),
            (f"{LOOPBACK}:8000", f"{LOOPBACK}:{web}"),
            ("--address=0.0.0.0", f"--address={LOOPBACK}"),
            ("--port=5555", f"--port={flower}"),
            (f"{LOOPBACK}:5555", f"{LOOPBACK}:{flower}"),
        ):
            text = text.replace(ours, here)
        return text


def _settings(command: Sequence[str]) -> dict[str, str]:
    """Return the settings of a command ``postgres -c name=value ...``."""
    words = [word for flag, word in pairwise(command) if flag == "-c"]
    return dict(word.split("=", 1) for word in words)
