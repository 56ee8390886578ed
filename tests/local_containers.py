"""Local processes behind the container interface of pytest-celery.

pytest-celery talks to docker-py's ``Container``: attributes, logs, kill, restart, reload, stop and
exec_run. :class:`ProcessContainer` answers those calls for a process of this machine, so that
the plugin's broker, backend and worker nodes run where no container engine is. What a process
cannot give is absent: networks, ``get_files``, and a process list of its own
(``get_running_processes_info`` would see the whole machine).

Container images, and with them the plugin's other vendors, are left as they are, and untested here.
"""

import os
import secrets
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest_celery
import redis

from service.embedded.binaries import locate_valkey
from service.embedded.leash import leashed
from tests.polling import eventually, is_gone

ROOT = Path(__file__).resolve().parents[1]
START_SECONDS = 20.0


class ProcessContainer:
    """A process group that answers like a docker-py container.

    ``command`` is started anew at each restart, with the same files and ports. ``is_up`` says
    when it can be used. The group dies with the tests, however they end.
    """

    def __init__(
        self,
        name: str,
        command: Callable[[str], Sequence[str]],
        folder: Path,
        *,
        environment: Mapping[str, str] | None = None,
        ports: Sequence[int] = (),
        is_up: Callable[[], bool] = lambda: True,
    ) -> None:
        self.id = secrets.token_hex(32)
        self.name = f"{name}-{self.id[:12]}"
        self._command = [str(word) for word in command(self.id[:12])]
        self._environment = {**os.environ, **(environment or {})}
        self._log = folder / f"{self.name}.log"
        self._is_up = is_up
        self.attrs: dict[str, Any] = {
            "Config": {
                "Hostname": "127.0.0.1",
                "Env": [f"{key}={value}" for key, value in (environment or {}).items()],
            },
            "HostConfig": {"PortBindings": {}},
            "NetworkSettings": {
                "Networks": {},
                "Ports": {f"{port}/tcp": [{"HostPort": str(port)}] for port in ports},
            },
        }
        self._process: subprocess.Popen[bytes] | None = None
        self.start()

    def start(self) -> None:
        """Start the command and wait until it can be used."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                leashed(self._command, signal=signal.SIGKILL),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment,
                cwd=ROOT,
                start_new_session=True,
            )
        eventually(
            lambda: self.status == "exited" or self._is_up(),
            START_SECONDS,
            f"{self.name} can be used",
        )

    @property
    def pid(self) -> int:
        """The process id of the group's leader."""
        assert self._process is not None
        return self._process.pid

    @property
    def status(self) -> str:
        """``running`` or ``exited``, as docker-py says it."""
        return "exited" if self._process is None or self._process.poll() is not None else "running"

    def reload(self) -> None:
        """Do nothing: the status is looked up each time."""

    def logs(self) -> bytes:
        """Return everything that it has printed since its first start."""
        return self._log.read_bytes()

    def kill(self, signal: str | int | None = None) -> None:
        """Send a signal: SIGKILL to the whole group, any other to its leader."""
        number = _signal_number(signal)
        if number == _signal_number("SIGKILL"):
            os.killpg(self.pid, number)
            self._collect(START_SECONDS)
        else:
            os.kill(self.pid, number)

    def stop(self, timeout: float = 10) -> None:
        """Ask it to end, and end it after ``timeout`` seconds."""
        if self.status == "exited":
            return
        os.kill(self.pid, signal.SIGTERM)
        try:
            self._collect(timeout)
        except subprocess.TimeoutExpired:
            self.kill("SIGKILL")

    def restart(self, timeout: float = 10) -> None:
        """Stop and start it."""
        self.stop(timeout)
        self.start()

    def exec_run(self, command: str) -> tuple[int, bytes]:
        """Run a shell command on this machine, as ``docker exec`` would in the container."""
        done = subprocess.run(command, shell=True, capture_output=True, check=False, cwd=ROOT)
        return done.returncode, done.stdout

    def remove(self) -> None:
        """Kill whatever is left of the group, and make sure that it is gone."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            return
        self._collect(START_SECONDS)
        eventually(lambda: is_gone(self.pid), START_SECONDS, f"{self.name} is gone")

    def _collect(self, timeout: float) -> None:
        assert self._process is not None
        self._process.wait(timeout)


def _signal_number(given: str | int | None) -> int:
    if isinstance(given, int):
        return given
    return int(signal.Signals[given or "SIGKILL"])


class LocalRedis(pytest_celery.RedisContainer):
    """A Valkey process as pytest-celery's Redis container, with a password and kept data."""

    def __init__(self, folder: Path, port: int) -> None:
        self._password = secrets.token_hex(16)
        self._port = port
        configuration = folder / f"valkey-{port}.conf"
        configuration.write_text(
            f"port {port}\nbind 127.0.0.1\nrequirepass {self._password}\ndir {folder}\n"
            f'save ""\nappendonly yes\nappenddirname aof-{port}\nmaxmemory-policy noeviction\n'
        )
        server = locate_valkey().server
        super().__init__(
            ProcessContainer(
                "valkey",
                lambda _node: [str(server), str(configuration)],
                folder,
                ports=[port],
                is_up=self._answers,
            )
        )

    def _answers(self) -> bool:
        try:
            with redis.Redis.from_url(self.url) as client:
                return bool(client.ping())
        except redis.ConnectionError:
            return False

    @property
    def url(self) -> str:
        """The address, the same from inside and outside: there is no inside."""
        return f"redis://:{self._password}@127.0.0.1:{self._port}/0"

    host_url = url

    @property
    def port(self) -> int:
        """The port that it listens on."""
        return self._port

    def teardown(self) -> None:
        """End the process."""
        self._container.remove()


class LocalWorker(pytest_celery.CeleryWorkerContainer):
    """A Celery worker process as pytest-celery's worker container."""

    def __init__(
        self,
        folder: Path,
        environment: Mapping[str, str],
        *,
        application: str,
        queues: Sequence[str],
        name: str = "worker",
        arguments: Sequence[str] = (),
    ) -> None:
        self._name = name
        self._queues = ",".join(queues)
        command = [sys.executable, "-m", "celery", "-A", application, "worker", "-l", "INFO"]
        super().__init__(
            ProcessContainer(
                name,
                lambda node: [*command, "-n", f"{name}@{node}", "-Q", self._queues, *arguments],
                folder,
                environment=environment,
            )
        )

    def worker_name(self) -> str:  # type: ignore[override]  # the plugin has it per class
        """The part of the worker's name before the ``@``."""
        return self._name

    def worker_queue(self) -> str:  # type: ignore[override]  # the plugin has it per class
        """The queues that it consumes, with commas."""
        return self._queues

    def teardown(self) -> None:
        """End the process and its pool."""
        self._container.remove()


class LocalBeat(pytest_celery.CeleryTestContainer):
    """A Celery beat process; the plugin has no node of this kind of its own."""

    def __init__(self, folder: Path, environment: Mapping[str, str], *, application: str) -> None:
        command = [sys.executable, "-m", "celery", "-A", application, "beat", "-l", "INFO"]
        super().__init__(
            ProcessContainer(
                "beat", lambda _node: [*command, "--pidfile="], folder, environment=environment
            )
        )

    @property
    def ready_prompt(self) -> str:
        """What beat logs before its first tick."""
        return "beat: Starting..."

    def teardown(self) -> None:
        """End the process."""
        self._container.remove()
