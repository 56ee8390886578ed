"""PostgreSQL as a child process: created, started, stopped and recovered without a person."""

import os
import shutil
import signal as signals
import subprocess
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Final
from urllib.parse import quote, urlencode

import psycopg2
from psycopg2 import sql

from maintenance.core.redaction import redact
from service.embedded.account import ServerAccount, make_server_directory
from service.embedded.binaries import PostgresBinaries, locate_postgres, reachable_postgres
from service.embedded.errors import ServerStartError, StateFolderError
from service.embedded.leash import leashed
from service.embedded.ports import LOOPBACK, free_port
from service.embedded.process import POLL_INTERVAL_SECONDS, server_environment
from service.embedded.server import EmbeddedServer, Invocation

SUPERUSER = "postgres"
INITDB_TIMEOUT_SECONDS = 120
SHARED_MEMORY_TIMEOUT_SECONDS = 30

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

#: The way to the server, said in full: PG* variables are meant for a person's other servers, and count
#: wherever a connection says nothing (libpq documentation, "Environment Variables").
STRAIGHT: Final[Mapping[str, Any]] = {
    "hostaddr": LOOPBACK,
    "sslmode": "disable",
    "gssencmode": "disable",
    "channel_binding": "prefer",
    "target_session_attrs": "any",
}


class EmbeddedPostgres(EmbeddedServer):
    """A PostgreSQL server of its own in `state_dir` (see EmbeddedServer).

    Passwords are checked with SCRAM; there is no Unix socket, whose path could be too long.
    `settings` override DEFAULT_SETTINGS.
    """

    NAME = "PostgreSQL"
    # "Shutting Down the Server": SIGINT fast, SIGQUIT immediate (recovers at the next start).
    STOP_ESCALATION: ClassVar = [
        (signals.SIGINT, 30.0),
        (signals.SIGQUIT, 10.0),
        (signals.SIGKILL, 5.0),
    ]

    def __init__(
        self,
        state_dir: Path,
        password: str,
        *,
        binaries: PostgresBinaries | None = None,
        settings: Mapping[str, str] | None = None,
        pick_port: Callable[[], int] = free_port,
    ) -> None:
        super().__init__(state_dir, password, {**DEFAULT_SETTINGS, **(settings or {})}, pick_port)
        self._binaries = binaries

    def url(self, database: str = "postgres") -> str:
        """The address of a database, with the superuser's name and password in it."""
        password = quote(self._password, safe="")
        return (
            f"postgres://{SUPERUSER}:{password}@{LOOPBACK}:{self.port}/{quote(database, safe='')}"
        )

    def straight_url(self, database: str) -> str:
        """The same address for programs that have PG* variables of their user: it overrides them."""
        return f"{self.url(database)}?{urlencode(STRAIGHT)}"

    def ensure_database(self, name: str) -> None:
        """Create the database unless it exists."""
        connection = psycopg2.connect(self.url(), **STRAIGHT)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name])
                if cursor.fetchone() is None:
                    cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
        finally:
            connection.close()

    def ensure_extension(self, database: str, name: str) -> bool:
        """Create the extension in the database; return whether the server's programs have it."""
        connection = psycopg2.connect(self.url(database), **STRAIGHT)
        try:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(
                    "SELECT 1 FROM pg_catalog.pg_available_extensions WHERE name = %s", [name]
                )
                if cursor.fetchone() is None:
                    return False
                cursor.execute(
                    sql.SQL("CREATE EXTENSION IF NOT EXISTS {}").format(sql.Identifier(name))
                )
        finally:
            connection.close()
        return True

    def _prepare(self, account: ServerAccount | None) -> Path:
        found = self._binaries or locate_postgres()
        binaries = reachable_postgres(found, account, self.state_dir / "programs")
        if self.data_dir.exists():
            refuse_other_major(self.data_dir, binaries)
        else:
            create_cluster(self.data_dir, self._password, binaries, account)
        return binaries.program("postgres")

    def _pid_file(self) -> Path:
        return self.data_dir / "postmaster.pid"

    def _invocation(self, program: Path, port: int) -> Invocation:
        command = [str(program), "-D", str(self.data_dir), "-p", str(port), "-k", ""]
        for name, value in self._settings.items():
            command += ["-c", f"{name}={value}"]
        return Invocation(command)

    def _launch_on(self, port: int, program: Path, account: ServerAccount | None) -> None:
        """Start on one port, as soon as the backends of a killed postmaster are gone.

        They notice its death within moments, and keep its shared memory until then.
        """
        deadline = time.monotonic() + SHARED_MEMORY_TIMEOUT_SECONDS
        while True:
            try:
                return super()._launch_on(port, program, account)
            except ServerStartError as error:
                in_use = "pre-existing shared memory block" in str(error)
                if not in_use or time.monotonic() > deadline:
                    raise
            time.sleep(POLL_INTERVAL_SECONDS)

    def _answers(self) -> bool:
        if not self._says_ready():
            return False
        try:
            psycopg2.connect(self.url(), connect_timeout=5, **STRAIGHT).close()
        except psycopg2.OperationalError as error:
            if "password authentication failed" in str(error):
                raise ServerStartError(
                    f"{self.NAME} in {self.data_dir} does not accept the password of this state "
                    "folder: its secrets and its data are not from the same installation. Restore "
                    "both from the same backup."
                ) from None
            self._last_refusal = redact(" ".join(str(error).split()))
            return False
        return True

    def _says_ready(self) -> bool:
        """Whether our postmaster reports "ready": it has its port, and recovery is over.

        The status is the eighth line of postmaster.pid (LOCK_FILE_LINE_PM_STATUS in PostgreSQL's
        pidfile.h), which pg_ctl waits for as well.
        """
        try:
            lines = self._pid_file().read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) >= 8 and lines[0] == str(self.pid) and lines[7].strip() == "ready"


def create_cluster(
    data_dir: Path, password: str, binaries: PostgresBinaries, account: ServerAccount | None
) -> None:
    """Make a new cluster with checksums, UTF-8 and SCRAM, on which the superuser has `password`.

    initdb works under another name first: one cut short is never taken for a cluster.

    Raises ServerStartError with initdb's own words.
    """
    unfinished = data_dir.with_name(data_dir.name + ".unfinished")
    if unfinished.exists():
        shutil.rmtree(unfinished)
    make_server_directory(unfinished, account)
    password_file = data_dir.with_name("password.once")
    password_file.unlink(missing_ok=True)
    password_file.touch(mode=0o600)
    try:
        password_file.write_text(password + "\n")
        if account is not None:
            os.chown(password_file, account.uid, account.gid)
        _run_initdb(unfinished, password_file, binaries, account)
    finally:
        password_file.unlink()
    unfinished.rename(data_dir)


def _run_initdb(
    directory: Path, password_file: Path, binaries: PostgresBinaries, account: ServerAccount | None
) -> None:
    locale = ["--locale=C"]
    if binaries.major >= 17:
        # The builtin provider sorts by code point, the same on each machine, without ICU.
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
    try:
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
    except subprocess.TimeoutExpired:
        raise ServerStartError(
            f"initdb did not finish within {INITDB_TIMEOUT_SECONDS} s in {directory}: look for a "
            "slow or hanging disk, then start again."
        ) from None
    if result.returncode != 0:
        said = (result.stderr or result.stdout).strip()
        raise ServerStartError(f"initdb could not create a cluster in {directory}:\n{said}")


def refuse_other_major(data_dir: Path, binaries: PostgresBinaries) -> None:
    """Raise StateFolderError where these programs cannot serve the cluster."""
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
