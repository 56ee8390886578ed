"""A RabbitMQ of one's own, where one is installed."""

import os
import secrets
import shutil
import signal
import subprocess
from pathlib import Path

import amqp

from faults.waiting import eventually
from service.embedded.ports import LOOPBACK, free_port

#: Debian's script of this name in /usr/sbin insists on its own account; this one does not.
PROGRAM = shutil.which(
    "rabbitmq-server", path="/usr/lib/rabbitmq/bin:" + os.environ.get("PATH", "")
)
#: Erlang and its plugins take seconds to load on a busy machine.
START_SECONDS = 90.0


class RabbitMQ:
    """The server as a process group of its own, which ends with it. Its files lie in ``home``."""

    def __init__(self, home: Path) -> None:
        home.mkdir(exist_ok=True)
        self.port = free_port()
        cookie = home / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        (home / "rabbitmq.conf").write_text(f"listeners.tcp.default = {LOOPBACK}:{self.port}\n")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "RABBITMQ_NODENAME": f"tests-{self.port}@localhost",
            "RABBITMQ_MNESIA_BASE": str(home / "data"),
            "RABBITMQ_LOG_BASE": str(home / "log"),
            "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "plugins"),
            "RABBITMQ_PID_FILE": str(home / "pid"),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 1:1",  # one thread is enough
            "RABBITMQ_DIST_PORT": str(free_port()),
            # Erlang starts a port mapper that stays: this one is ours to end.
            "ERL_EPMD_PORT": str(free_port()),
            # Its own port mapper may be stopped before it has noticed that the node is gone.
            "ERL_EPMD_RELAXED_COMMAND_CHECK": "1",
        }
        self._out = home / "out"
        self._process: subprocess.Popen[bytes] | None = None

    def url(self, port: int | None = None) -> str:
        """Return the address, or that of a line to it."""
        return f"amqp://guest:guest@{LOOPBACK}:{port or self.port}//"

    def start(self) -> None:
        """Start it. Raises ``RuntimeError`` where it is not installed or ends, and ``TimeoutError``."""
        if PROGRAM is None:
            raise RuntimeError("rabbitmq-server is not installed.")
        with self._out.open("w") as out:
            self._process = subprocess.Popen(
                [PROGRAM],
                env=self._environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        eventually(self._answers, START_SECONDS, "RabbitMQ answers")

    def _answers(self) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            raise RuntimeError(f"RabbitMQ ended: {self._out.read_text()}")
        try:
            with amqp.Connection(f"{LOOPBACK}:{self.port}", connect_timeout=2):
                return True
        except OSError:
            return False

    def stop(self) -> None:
        """Kill it with all that it started."""
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            subprocess.run(
                ["epmd", "-kill"], env=self._environment, check=True, capture_output=True
            )
