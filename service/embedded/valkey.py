"""Valkey as a child process: password on, data kept across restarts, no orphan."""

import signal as signals
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import ClassVar, Final
from urllib.parse import quote

import redis

from service.embedded.account import ServerAccount, make_server_directory
from service.embedded.binaries import ValkeyBinaries, locate_valkey, reachable_valkey
from service.embedded.ports import LOOPBACK, free_port
from service.embedded.server import EmbeddedServer, Invocation

DEFAULT_SETTINGS: Final[Mapping[str, str]] = {
    "bind": LOOPBACK,
    "protected-mode": "yes",
    # Messages and leases must survive a crash; at most one second of writes is lost.
    "appendonly": "yes",
    "appendfsync": "everysec",
    "save": "",
    # A broker never drops messages to make room: it refuses new ones.
    "maxmemory-policy": "noeviction",
    "daemonize": "no",
}


class EmbeddedValkey(EmbeddedServer):
    """A Valkey server of its own in `state_dir` (see EmbeddedServer).

    The configuration, password included, is handed over on standard input: it is neither in the
    argument list nor in a file. `settings` override DEFAULT_SETTINGS, one directive each.
    """

    NAME = "Valkey"
    STOP_ESCALATION: ClassVar = [(signals.SIGTERM, 30.0), (signals.SIGKILL, 5.0)]

    def __init__(
        self,
        state_dir: Path,
        password: str,
        *,
        binaries: ValkeyBinaries | None = None,
        settings: Mapping[str, str] | None = None,
        pick_port: Callable[[], int] = free_port,
    ) -> None:
        super().__init__(state_dir, password, {**DEFAULT_SETTINGS, **(settings or {})}, pick_port)
        self._binaries = binaries

    def url(self, db: int = 0) -> str:
        """The address of a numbered database, with the password in it."""
        return f"redis://:{quote(self._password, safe='')}@{LOOPBACK}:{self.port}/{db}"

    def _prepare(self, account: ServerAccount | None) -> Path:
        make_server_directory(self.data_dir, account)
        found = self._binaries or locate_valkey()
        return reachable_valkey(found, account, self.state_dir / "programs").server

    def _pid_file(self) -> Path:
        return self.data_dir / "valkey.pid"

    def _invocation(self, program: Path, port: int) -> Invocation:
        directives = {
            **self._settings,
            "port": str(port),
            "dir": str(self.data_dir),
            "pidfile": str(self._pid_file()),
            "requirepass": self._password,
        }
        lines = [f"{name} {quoted(value)}\n" for name, value in directives.items()]
        return Invocation([str(program), "-"], standard_input="".join(lines).encode())

    def _answers(self) -> bool:
        client = redis.Redis.from_url(self.url(), socket_timeout=1, socket_connect_timeout=1)
        try:
            client.ping()  # INFO answers while the data is being loaded, and nothing else does
            return bool(client.info("server")["process_id"] == self.pid)
        except (redis.ConnectionError, redis.TimeoutError, redis.ResponseError):
            return False  # not listening yet, still loading, or somebody else's server
        finally:
            client.close()


def quoted(value: str) -> str:
    """A value in the double-quoted form of the configuration file (valkey.conf, sdssplitargs)."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r") + '"'
