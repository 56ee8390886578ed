"""The one folder that an installation keeps everything in, and the checks before it is used."""

import hashlib
import json
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self

from service.embedded.account import (
    blocking_directory,
    make_passable_directory,
    refuse_unreachable,
    server_account,
)
from service.embedded.errors import StateFolderError
from service.embedded.folder_lock import FolderLock
from service.embedded.secret_store import SecretStore, write_private

__all__ = ["StateFolder", "StateFolderError", "default_path", "free_bytes"]

STATE_SETTING = "MAINTENANCE_STATE"
PROJECT_ROOT = Path(__file__).resolve().parents[2]
SHARED_STATE = Path("/var/lib/celery-maintenance")
MARKER_FILE = ".maintenance-state.json"
APPLICATION = "celery-maintenance"
FORMAT = 1
# An empty cluster takes 40 MB, its first WAL segments 32 MB; a server that cannot write its WAL
# stops with PANIC.
MINIMUM_FREE_BYTES = 200_000_000
# What an interrupted first start or the file system itself may leave in a folder of ours.
HARMLESS_NAMES = frozenset({MARKER_FILE + ".unfinished", "lost+found"})


def free_bytes(path: Path) -> int:
    """The space that this user can still fill on the file system of `path`."""
    return shutil.disk_usage(path).free


def default_path(project_root: Path = PROJECT_ROOT, shared: Path = SHARED_STATE) -> Path:
    """Where the state lies unless named: MAINTENANCE_STATE, else `.state` in the project.

    For root, whose servers run as `nobody`, a project that `nobody` cannot enter (below a home of
    mode 700) keeps its state in `shared`, under a name made of the project's own.
    """
    chosen = os.environ.get(STATE_SETTING)
    if chosen:
        return Path(chosen).expanduser().absolute()
    account = server_account()
    if account is None or blocking_directory(project_root, account) is None:
        return project_root / ".state"
    slug = re.sub(r"[^a-z0-9]+", "-", project_root.name.lower()).strip("-") or "project"
    digest = hashlib.sha256(str(project_root).encode()).hexdigest()[:8]
    return shared / f"{slug}-{digest}"


class StateFolder:
    """An opened state folder: nobody else has it, and it is ours, whole and writable.

    Use it as a context manager, or close() it; the kernel closes it with the process.
    """

    def __init__(self, path: Path, secrets: SecretStore, lock: FolderLock) -> None:
        self.path = path
        self.secrets = secrets
        self._lock = lock

    @classmethod
    def open(
        cls, path: Path | None = None, *, measure_free: Callable[[Path], int] = free_bytes
    ) -> Self:
        """Take the folder for this process, creating it where it is missing or empty.

        `path` defaults to default_path(). `measure_free` gives the free bytes of a file system.

        Raises StateFolderError with one sentence where another process holds the folder, or it
        belongs to something or somebody else, was made by a newer version, is damaged, closed to
        writing or to the servers' account, or less than MINIMUM_FREE_BYTES are free.
        """
        folder = (path or default_path()).expanduser().absolute()
        _create(folder)
        _refuse_unwritable(folder)
        lock = FolderLock(folder)
        lock.acquire()
        try:
            _refuse_foreign(folder)
            refuse_unreachable(folder, server_account())
            _refuse_full(folder, measure_free)
            if not (folder / MARKER_FILE).exists():
                marker = {"application": APPLICATION, "format": FORMAT}
                write_private(folder / MARKER_FILE, json.dumps(marker) + "\n")
            lock.record_holder()
            state = cls(folder, SecretStore(folder / "secrets.json"), lock)
            _refuse_lost_secrets(state)
            state.reports.mkdir(mode=0o700, exist_ok=True)
        except BaseException:
            lock.release()
            raise
        return state

    @property
    def postgres(self) -> Path:
        """The folder of the embedded PostgreSQL."""
        return self.path / "postgres"

    def valkey(self, name: str) -> Path:
        """The folder of the embedded Valkey of that name, such as `broker`.

        Raises ValueError for a name that is not lower-case letters, digits and hyphens.
        """
        if not re.fullmatch(r"[a-z0-9][a-z0-9-]*", name):
            raise ValueError(f"A server's name is lower-case letters, digits and -: not {name!r}.")
        return self.path / f"valkey-{name}"

    @property
    def reports(self) -> Path:
        """The folder of the report files."""
        return self.path / "reports"

    def close(self) -> None:
        """Let other processes have the folder."""
        self._lock.release()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _create(folder: Path) -> None:
    try:
        make_passable_directory(folder, server_account())
    except OSError as error:
        raise StateFolderError(
            f"The state folder {folder} cannot be created ({error.strerror}): set {STATE_SETTING} "
            "to a folder that this user may create."
        ) from None


def _refuse_unwritable(folder: Path) -> None:
    if not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
        raise StateFolderError(
            f"This user cannot read and write the state folder {folder}: correct its permissions "
            f"or set {STATE_SETTING} to a folder of your own."
        )
    marker = folder / MARKER_FILE
    if marker.exists() and marker.stat().st_uid != os.geteuid():
        raise StateFolderError(
            f"The state folder {folder} belongs to the user with id {marker.stat().st_uid}, not to "
            f"{os.geteuid()}: start as that user, or set {STATE_SETTING} to another folder."
        )


def _refuse_foreign(folder: Path) -> None:
    marker = folder / MARKER_FILE
    if not marker.exists():
        if any(entry.name not in HARMLESS_NAMES for entry in folder.iterdir()):
            raise StateFolderError(
                f"{folder} is not empty and was not made by this program: set {STATE_SETTING} to a "
                "new or an empty folder."
            )
        return
    try:
        document = json.loads(marker.read_text())
        application, format_found = str(document["application"]), int(document["format"])
    except (OSError, ValueError, KeyError, TypeError):
        raise StateFolderError(
            f"{marker} is damaged, so what is in the folder cannot be told: restore that file from "
            f"a backup, or set {STATE_SETTING} to another folder."
        ) from None
    if application != APPLICATION:
        raise StateFolderError(
            f"{folder} belongs to {application!r}: set {STATE_SETTING} to another folder."
        )
    if format_found > FORMAT:
        raise StateFolderError(
            f"{folder} was made by a newer version (format {format_found}, this one reads "
            f"{FORMAT}): upgrade, or set {STATE_SETTING} to another folder."
        )


def _refuse_full(folder: Path, measure_free: Callable[[Path], int]) -> None:
    free = measure_free(folder)
    if free < MINIMUM_FREE_BYTES:
        raise StateFolderError(
            f"Only {free / 1e6:.0f} MB are free where {folder} lies, and the servers need at least "
            f"{MINIMUM_FREE_BYTES / 1e6:.0f} MB: make room, or set {STATE_SETTING} to a folder on "
            "another disk."
        )


def _refuse_lost_secrets(state: StateFolder) -> None:
    if not state.secrets.path.exists() and (state.postgres / "data").exists():
        raise StateFolderError(
            f"{state.secrets.path} is missing, and with it the password of the data beside it: "
            "restore the file from a backup, or move the whole state folder away to begin anew."
        )
