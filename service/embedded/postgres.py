"""PostgreSQL as a child process: created, started, stopped and recovered without a person."""

import os
import shutil
import signal as signals
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from urllib.parse import quote

import psycopg2
from psycopg2 import sql

from service.embedded.account import ServerAccount, make_server_directory, server_account
from service.embedded.binaries import PostgresBinaries, locate_postgres, reachable_postgres
from service.embedded.errors import ServerStartError, StateFolderError
from service.embedded.folder_lock import FolderLock
from service.embedded.leash import leashed
from service.embedded.orphan import stop_orphan
from service.embedded.ports import (
    LOOPBACK,
    PortTakenError,
    candidate_ports,
    free_port,
    read_port,
    write_port,
)
from service.embedded.process import ServerProcess, rotate_log, server_environment

NAME = "PostgreSQL"
SUPERUSER = "postgres"
INITDB_TIMEOUT_SECONDS = 120
# Replaying the log after a crash takes time, checkpoint_timeout (5 min) of writes at the most.
READY_TIMEOUT_SECONDS = 120
ORPHAN_TIMEOUT_SECONDS = 30
SHARED_MEMORY_RETRIES = 50
# "Shutting Down the Server": SIGINT fast, SIGQUIT immediate (recovers at the next start).
STOP_ESCALATION: Final = [(signals.SIGINT, 30.0), (signals.SIGQUIT, 10.0), (signals.SIGKILL, 5.0)]

DEFAULT_SETTINGS: Final[Mapping[str, str]] = {
    "listen_addresses": LOOPBACK,
    "password_encryption": "scram-sha-256",
    "shared_buffers": "64MB",
    "max_connections": "100",
    # Slow queries are read from pg_stat_statements; nested ones count as well.
    "shared_preload_libraries": "pg_stat_statements",
    "pg_stat_statements.track": "all",
    "track_io_timing": "on",
    # In ms: a query whose client died is dropped, rather than run to its end.
    "client_connection_check_interval": "1000",
    "log_timezone": "UTC",
    "timezone": "UTC",
    "log_line_prefix": "%m [%p] %q%a@%d ",
}


class EmbeddedPostgres:
    """A PostgreSQL server of its own in `state_dir`, on a port of the loopback interface.

    `state_dir` holds the cluster (data/), the log, the port of the last run and, for root in a
    closed virtual environment, a copy of the programs. Passwords are checked with SCRAM; there is
    no Unix socket, whose path could be too long. `settings` override DEFAULT_SETTINGS.

    Start it from the main thread; it ends with this process, however that ends (on Linux).
    """

    def __init__(
        self,
        state_dir: Path,
        password: str,
        *,
        binaries: PostgresBinaries | None = None,
        settings: Mapping[str, str] | None = None,
        pick_port: Callable[[], int] = free_port,
    ) -> None:
        self.state_dir = state_dir
        self.data_dir = state_dir / "data"
        self.log_path = state_dir / "postgres.log"
        self._port_file = state_dir / "port"
        self._password = password
        self._binaries = binaries
        self._settings = {**DEFAULT_SETTINGS, **(settings or {})}
        self._pick_port = pick_port
        self._lock = FolderLock(state_dir)
        self._process: ServerProcess | None = None
        self._port: int | None = None

    def start(self) -> None:
        """Create the cluster if there is none, and return when the server takes connections.

        A server that a killed process left on this folder is stopped first; recovery after a
        crash is PostgreSQL's own. The port of the last run is used again where it is free.

        Raises StateFolderError where another process uses the folder or the cluster is of another
        major version; BinariesNotFoundError; ServerStartError with the end of the server's log.
        """
        if self.running:
            return
        account = server_account()
        self.state_dir.mkdir(mode=0o711, parents=True, exist_ok=True)
        self._lock.release()
        self._lock.acquire()
        try:
            self._lock.record_holder()
            binaries = reachable_postgres(
                self._binaries or locate_postgres(), account, self.state_dir / "programs"
            )
            self._prepare(binaries, account)
            self._launch(binaries, account)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shut down fast: sessions end, data is written; harder signals follow when it hangs."""
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
        """The postmaster's process id, or None while the server is stopped."""
        return self._process.pid if self._process is not None else None

    @property
    def port(self) -> int:
        """The TCP port of the last start.

        Raises ServerStartError where the server was never started.
        """
        if self._port is None:
            raise ServerStartError(f"{NAME} in {self.state_dir} has not been started.")
        return self._port

    def url(self, database: str = "postgres") -> str:
        """The address of a database, with the superuser's name and password in it."""
        password = quote(self._password, safe="")
        return (
            f"postgres://{SUPERUSER}:{password}@{LOOPBACK}:{self.port}/{quote(database, safe='')}"
        )

    def ensure_database(self, name: str) -> None:
        """Create the database unless it exists."""
        connection = psycopg2.connect(self.url())
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
                if cursor.fetchone() is None:
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        finally:
            connection.close()

    def _prepare(self, binaries: PostgresBinaries, account: ServerAccount | None) -> None:
        if self.data_dir.exists():
            refuse_other_major(self.data_dir, binaries)
        else:
            self._create_cluster(binaries, account)
        stop_orphan(
            NAME,
            self.data_dir / "postmaster.pid",
            self.data_dir,
            signals.SIGINT,
            ORPHAN_TIMEOUT_SECONDS,
        )
        rotate_log(self.log_path)
        self.log_path.touch(mode=0o600)

    def _create_cluster(self, binaries: PostgresBinaries, account: ServerAccount | None) -> None:
        """Run initdb under another name first: one cut short is never taken for a cluster."""
        unfinished = self.state_dir / "data.unfinished"
        if unfinished.exists():
            shutil.rmtree(unfinished)
        make_server_directory(unfinished, account)
        password_file = self.state_dir / "password.once"
        password_file.unlink(missing_ok=True)
        password_file.touch(mode=0o600)
        try:
            password_file.write_text(self._password + "\n")
            if account is not None:
                os.chown(password_file, account.uid, account.gid)
            self._run_initdb(binaries, account, unfinished, password_file)
        finally:
            password_file.unlink()
        unfinished.rename(self.data_dir)

    def _run_initdb(
        self,
        binaries: PostgresBinaries,
        account: ServerAccount | None,
        directory: Path,
        password_file: Path,
    ) -> None:
        # The builtin provider sorts by code point, the same on each machine, without ICU.
        locale = ["--locale=C"]
        if binaries.major >= 17:
            locale += ["--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
        command = [
            str(binaries.program("initdb")),
            f"--pgdata={directory}",
            f"--username={SUPERUSER}",
            f"--pwfile={password_file}",
            "--auth=scram-sha-256",
            "--encoding=UTF8",
            "--data-checksums",
            *locale,
        ]
        user = account.name if account else None
        result = subprocess.run(
            leashed(command, signal=signals.SIGTERM, user=user),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            cwd="/",
            env=server_environment(),
            timeout=INITDB_TIMEOUT_SECONDS,
            check=False,
        )
        if result.returncode != 0:
            said = (result.stderr or result.stdout).strip()
            raise ServerStartError(f"initdb could not create a cluster in {directory}:\n{said}")

    def _launch(self, binaries: PostgresBinaries, account: ServerAccount | None) -> None:
        retries_left = SHARED_MEMORY_RETRIES
        for port in candidate_ports(read_port(self._port_file), self._pick_port):
            while True:
                try:
                    self._launch_on(port, binaries, account)
                except PortTakenError:
                    break
                except _SharedMemoryInUseError as error:
                    # Backends of a killed postmaster notice within moments that it is gone.
                    retries_left -= 1
                    if retries_left == 0:
                        raise ServerStartError(str(error)) from None
                else:
                    write_port(self._port_file, port)
                    return
        raise ServerStartError(f"{NAME} found no free port on {LOOPBACK}.")

    def _launch_on(
        self, port: int, binaries: PostgresBinaries, account: ServerAccount | None
    ) -> None:
        command = [str(binaries.program("postgres")), "-D", str(self.data_dir), "-p", str(port)]
        command += ["-k", ""]
        for key, value in self._settings.items():
            command += ["-c", f"{key}={value}"]
        process = ServerProcess(
            command,
            name=NAME,
            log_path=self.log_path,
            death_signal=signals.SIGINT,
            account=account,
        )
        self._process = process
        self._port = port
        try:
            process.wait_until_ready(self._answers, READY_TIMEOUT_SECONDS)
        except ServerStartError as error:
            log = process.log_since_start()
            if "Address already in use" in log:
                raise PortTakenError from None
            if "pre-existing shared memory block" in log:
                raise _SharedMemoryInUseError(str(error)) from None
            raise

    def _answers(self) -> bool:
        """Whether our own server, not another one on that port, accepts our password."""
        if not self._says_ready():
            return False
        try:
            psycopg2.connect(self.url(), connect_timeout=5).close()
        except psycopg2.OperationalError as error:
            if "password authentication failed" in str(error):
                raise ServerStartError(
                    f"{NAME} in {self.data_dir} does not accept the password of this state "
                    "folder: its secrets and its data are not from the same run."
                ) from None
            return False
        return True

    def _says_ready(self) -> bool:
        """Whether our postmaster reports "ready": it has its port, and recovery is over.

        The status is the eighth line of postmaster.pid (LOCK_FILE_LINE_PM_STATUS in PostgreSQL's
        pidfile.h), which pg_ctl waits for as well.
        """
        pid_file = self.data_dir / "postmaster.pid"
        lines = pid_file.read_text().splitlines() if pid_file.exists() else []
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"


class _SharedMemoryInUseError(Exception):
    """Backends of an earlier, killed postmaster are still on their way out."""


def refuse_other_major(data_dir: Path, binaries: PostgresBinaries) -> None:
    """Raise StateFolderError where the cluster cannot be served by these programs."""
    version_file = data_dir / "PG_VERSION"
    try:
        found = version_file.read_text().strip()
    except OSError as error:
        raise StateFolderError(
            f"{data_dir} holds no whole PostgreSQL cluster ({version_file.name}: "
            f"{error.strerror}): restore it from a backup, or move it away to begin with an empty "
            "one."
        ) from None
    if found != str(binaries.major):
        raise StateFolderError(
            f"{data_dir} was made by PostgreSQL {found}, but the programs found are "
            f"{binaries.version}: point MAINTENANCE_POSTGRES_BINDIR to PostgreSQL {found}, or dump "
            "with the old version and restore into a new folder."
        )
