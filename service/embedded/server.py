"""What the embedded servers share: folder, lock, port, life cycle."""

import signal as signals
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from service.embedded.account import (
    ServerAccount,
    make_passable_directory,
    refuse_unreachable,
    server_account,
)
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

# Reading the log or the append-only file after a crash takes time, minutes on a slow disk.
READY_TIMEOUT_SECONDS = 120
ORPHAN_TIMEOUT_SECONDS = 30


@dataclass(frozen=True)
class Invocation:
    """An argument list, which every user can see, and a standard input, which none can."""

    command: list[str]
    standard_input: bytes = b""


class EmbeddedServer(ABC):
    """A server of its own in `state_dir`, on a port of the loopback interface.

    `state_dir` holds the data (data/), the log, the port of the last run and, for root in a
    closed virtual environment, a copy of the programs (programs/). Only data/ belongs to the
    account that the server runs under.

    Start it from the main thread; it ends with this process, however that ends (on Linux).
    """

    NAME: ClassVar[str]
    # The signal for an orderly end first, then harder ones, with the seconds each is given.
    STOP_ESCALATION: ClassVar[list[tuple[signals.Signals, float]]]

    def __init__(
        self,
        state_dir: Path,
        password: str,
        settings: Mapping[str, str],
        pick_port: Callable[[], int] = free_port,
    ) -> None:
        self.state_dir = state_dir.absolute()
        self.data_dir = self.state_dir / "data"
        self.log_path = self.state_dir / f"{self.NAME.lower()}.log"
        self._port_file = self.state_dir / "port"
        self._password = password
        self._settings = settings
        self._pick_port = pick_port
        self._lock = FolderLock(self.state_dir)
        self._process: ServerProcess | None = None
        self._port: int | None = None
        self._last_refusal = ""  # what the running start's last try to connect was told

    def start(self, *, on_same_port: bool = False) -> None:
        """Start the server and return when it answers; do nothing where it runs.

        A first start creates the data. A server that a killed process left on this folder is
        stopped first; recovery after a crash is the server's own. The port of the last run is
        used again where it is free, so that addresses survive a restart. `on_same_port` takes that
        of this object's last start and no other, for programs that know its address and still run.

        Raises StateFolderError where the folder is in use, out of the account's reach or of
        another major version; BinariesNotFoundError; ServerStartError with the end of the log.
        """
        if self.running:
            return
        account = server_account()
        refuse_unreachable(self.state_dir, account)
        make_passable_directory(self.state_dir, account)
        self._lock.release()
        self._lock.acquire()
        try:
            self._lock.record_holder()
            program = self._prepare(account)
            stop_orphan(
                self.NAME,
                self._pid_file(),
                self.data_dir,
                self.STOP_ESCALATION[0][0],
                ORPHAN_TIMEOUT_SECONDS,
            )
            self.rotate_log()
            self.log_path.touch(mode=0o600)
            if on_same_port:
                self._launch_again(program, account)
            else:
                self._launch(program, account)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut down with all data on disk; harder signals follow where the server hangs."""
        if self._process is not None:
            self._process.stop(self.STOP_ESCALATION)
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
            raise ServerStartError(f"{self.NAME} in {self.state_dir} has not been started.")
        return self._port

    def rotate_log(self) -> bool:
        """Move a log of more than 10 MB aside, also while the server runs; True where it did."""
        return rotate_log(self.log_path)

    @abstractmethod
    def _prepare(self, account: ServerAccount | None) -> Path:
        """Make sure of programs and data; give the server program's path."""

    @abstractmethod
    def _pid_file(self) -> Path:
        """The file in which the server writes its process id."""

    @abstractmethod
    def _invocation(self, program: Path, port: int) -> Invocation:
        """How the server is started on that port."""

    @abstractmethod
    def _answers(self) -> bool:
        """Whether our own server, not another one on that port, is ready for work."""

    def _launch(self, program: Path, account: ServerAccount | None) -> None:
        for port in candidate_ports(read_port(self._port_file), self._pick_port):
            try:
                self._launch_on(port, program, account)
            except PortTakenError:
                continue
            write_port(self._port_file, port)
            return
        raise ServerStartError(
            f"{self.NAME} found no port on {LOOPBACK} that was still free when it started."
        )

    def _launch_again(self, program: Path, account: ServerAccount | None) -> None:
        try:
            self._launch_on(self.port, program, account)
        except PortTakenError:
            raise ServerStartError(
                f"another process has taken port {self.port} of {LOOPBACK}, where running programs"
                f" look for {self.NAME}: end that process, or start all of them again"
            ) from None

    def _launch_on(self, port: int, program: Path, account: ServerAccount | None) -> None:
        """Start on one port; raises PortTakenError where another process was faster."""
        invocation = self._invocation(program, port)
        process = ServerProcess(
            invocation.command,
            name=self.NAME,
            log_path=self.log_path,
            death_signal=self.STOP_ESCALATION[0][0],
            account=account,
            standard_input=invocation.standard_input,
        )
        self._process = process
        self._port = port
        self._last_refusal = ""
        try:
            process.wait_until_ready(self._answers, READY_TIMEOUT_SECONDS)
        except ServerStartError as error:
            if "Address already in use" in process.log_since_start():
                raise PortTakenError from None
            if self._last_refusal:
                raise ServerStartError(
                    f"{error}\nThe last try to connect ended with: {self._last_refusal}"
                ) from None
            raise
