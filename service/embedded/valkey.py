"""Valkey as a child process: password on, data kept across restarts, no orphan."""

import signal as signals
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import redis

from service.embedded.account import ServerAccount, make_server_directory, server_account
from service.embedded.binaries import ValkeyBinaries, locate_valkey, reachable_valkey
from service.embedded.errors import ServerStartError
from service.embedded.folder_lock import FolderLock
from service.embedded.orphan import stop_orphan
from service.embedded.ports import (
    LOOPBACK,
    PortTakenError,
    candidate_ports,
    free_port,
    read_port,
    write_port,
)
from service.embedded.process import ServerProcess, rotate_log

NAME = "Valkey"
READY_TIMEOUT_SECONDS = 120  # a large append-only file is read before the first answer
ORPHAN_TIMEOUT_SECONDS = 30
STOP_ESCALATION: Final = [(signals.SIGTERM, 30.0), (signals.SIGKILL, 5.0)]

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


class EmbeddedValkey:
    """A Valkey server of its own in `state_dir`, on a port of the loopback interface.

    The configuration, password included, is handed over on standard input: it is neither in the
    argument list nor in a file. `settings` override DEFAULT_SETTINGS, one directive each.

    Start it from the main thread; it ends with this process, however that ends (on Linux).
    """

    def __init__(
        self,
        state_dir: Path,
        password: str,
        *,
        binaries: ValkeyBinaries | None = None,
        settings: Mapping[str, str] | None = None,
        pick_port: Callable[[], int] = free_port,
    ) -> None:
        self.state_dir = state_dir
        self.data_dir = state_dir / "data"
        self.log_path = state_dir / "valkey.log"
        self._pid_file = self.data_dir / "valkey.pid"
        self._port_file = state_dir / "port"
        self._password = password
        self._binaries = binaries
        self._settings = {**DEFAULT_SETTINGS, **(settings or {})}
        self._pick_port = pick_port
        self._lock = FolderLock(state_dir)
        self._process: ServerProcess | None = None
        self._port: int | None = None

    def start(self) -> None:
        """Start the server and return when it has loaded its data and answers.

        A server that a killed process left on this folder is stopped first. The port of the last
        run is used again where it is free.

        Raises StateFolderError where another process uses the folder; BinariesNotFoundError;
        ServerStartError with the end of the server's log.
        """
        if self.running:
            return
        account = server_account()
        self.state_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._lock.release()
        self._lock.acquire()
        try:
            self._lock.record_holder()
            binaries = reachable_valkey(
                self._binaries or locate_valkey(), account, self.state_dir / "programs"
            )
            make_server_directory(self.data_dir, account)
            stop_orphan(
                NAME, self._pid_file, self.data_dir, signals.SIGTERM, ORPHAN_TIMEOUT_SECONDS
            )
            rotate_log(self.log_path)
            self.log_path.touch(mode=0o600)
            self._launch(binaries, account)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut down with all writes on disk; kill when it hangs."""
        if self._process is not None:
            self._process.stop(STOP_ESCALATION)
            self._process = None
        self._lock.release()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    @property
    def running(self) -> bool:
        """Whether the server process lives."""
        return self._process is not None and self._process.running

    @property
    def pid(self) -> int | None:
        """The server's process id, or None while it is stopped."""
        return self._process.pid if self._process is not None else None

    @property
    def port(self) -> int:
        """The TCP port of the last start.

        Raises ServerStartError where the server was never started.
        """
        if self._port is None:
            raise ServerStartError(f"{NAME} in {self.state_dir} has not been started.")
        return self._port

    def url(self, db: int = 0) -> str:
        """The address of a numbered database, with the password in it."""
        return f"redis://:{quote(self._password, safe='')}@{LOOPBACK}:{self.port}/{db}"

    def _launch(self, binaries: ValkeyBinaries, account: ServerAccount | None) -> None:
        for port in candidate_ports(read_port(self._port_file), self._pick_port):
            try:
                self._launch_on(port, binaries, account)
            except PortTakenError:
                continue
            write_port(self._port_file, port)
            return
        raise ServerStartError(f"{NAME} found no free port on {LOOPBACK}.")

    def _launch_on(
        self, port: int, binaries: ValkeyBinaries, account: ServerAccount | None
    ) -> None:
        process = ServerProcess(
            [str(binaries.server), "-"],
            name=NAME,
            log_path=self.log_path,
            death_signal=signals.SIGTERM,
            account=account,
            standard_input=self._configuration(port).encode(),
        )
        self._process = process
        self._port = port
        try:
            process.wait_until_ready(self._answers, READY_TIMEOUT_SECONDS)
        except ServerStartError:
            if "Address already in use" in process.log_since_start():
                raise PortTakenError from None
            raise

    def _configuration(self, port: int) -> str:
        directives = {
            **self._settings,
            "port": str(port),
            "dir": str(self.data_dir),
            "pidfile": str(self._pid_file),
            "requirepass": self._password,
        }
        return "".join(f"{name} {quoted(value)}\n" for name, value in directives.items())

    def _answers(self) -> bool:
        """Whether our own server, not another one on that port, has loaded its data."""
        client = redis.Redis.from_url(self.url(), socket_timeout=5, socket_connect_timeout=5)
        try:
            return bool(client.info("server")["process_id"] == self.pid)
        except (redis.ConnectionError, redis.TimeoutError, redis.AuthenticationError):
            return False  # not listening yet, still loading, or somebody else's server
        finally:
            client.close()


def quoted(value: str) -> str:
    """A value in the double-quoted form of the configuration file (valkey.conf, sdssplitargs)."""
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + escaped.replace("\n", "\\n").replace("\r", "\\r") + '"'
