"""A real RabbitMQ for tests, where one is installed."""

import os
import secrets
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import amqp
import pytest

from service.embedded.ports import LOOPBACK, free_port
from tests.polling import eventually

#: Debian's script of this name in /usr/sbin insists on its own account; this one does not.
PROGRAM = shutil.which(
    "rabbitmq-server", path="/usr/lib/rabbitmq/bin:" + os.environ.get("PATH", "")
)
#: Erlang and its plugins take seconds to load on a busy machine.
START_SECONDS = 90


@pytest.fixture(scope="module")
def rabbitmq_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a RabbitMQ of the module's own."""
    if PROGRAM is None:
        pytest.skip("rabbitmq-server is not installed")
    home = tmp_path_factory.mktemp("rabbitmq")
    port = free_port()
    with _Running(home, port):
        yield f"amqp://guest:guest@{LOOPBACK}:{port}//"


class _Running:
    """The server as a process group of its own, which ends with it."""

    def __init__(self, home: Path, port: int) -> None:
        self._port = port
        cookie = home / ".erlang.cookie"
        cookie.write_text(secrets.token_hex(16))
        cookie.chmod(0o400)
        (home / "rabbitmq.conf").write_text(f"listeners.tcp.default = {LOOPBACK}:{port}\n")
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(home),
            "RABBITMQ_NODENAME": f"tests-{port}@localhost",
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
        self._home = home

    def __enter__(self) -> None:
        with (self._home / "out").open("w") as out:
            self._process = subprocess.Popen(
                [str(PROGRAM)],
                env=self._environment,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        eventually(self._answers, START_SECONDS, "RabbitMQ answers")

    def _answers(self) -> bool:
        assert self._process.poll() is None, (self._home / "out").read_text()
        try:
            with amqp.Connection(f"{LOOPBACK}:{self._port}", connect_timeout=2):
                return True
        except OSError:
            return False

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        subprocess.run(["epmd", "-kill"], env=self._environment, check=True, capture_output=True)
