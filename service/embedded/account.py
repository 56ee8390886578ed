"""The account that the servers run under, and what it can reach in the file system."""

import os
import pwd
import stat
from dataclasses import dataclass
from pathlib import Path

from service.embedded.errors import EmbeddedError, StateFolderError

UNPRIVILEGED_USER = "nobody"


@dataclass(frozen=True)
class ServerAccount:
    """A user without rights of its own, which root runs the servers under."""

    name: str
    uid: int
    gid: int


def server_account() -> ServerAccount | None:
    """The account servers drop to: `nobody` for root, None (no change) for everyone else.

    PostgreSQL refuses to run as root, and Valkey has no need to.

    Raises EmbeddedError where root has no user `nobody` to drop to.
    """
    if os.geteuid() != 0:
        return None
    try:
        entry = pwd.getpwnam(UNPRIVILEGED_USER)
    except KeyError:
        raise EmbeddedError(
            f"This machine has no user '{UNPRIVILEGED_USER}', which PostgreSQL and Valkey run under "
            f"when root starts them. Create it (useradd --system {UNPRIVILEGED_USER}), or start as "
            "a normal user."
        ) from None
    return ServerAccount(entry.pw_name, entry.pw_uid, entry.pw_gid)


def blocking_directory(path: Path, account: ServerAccount) -> Path | None:
    """The first directory on the way to `path` that `account` cannot pass, or None.

    Reads the permission bits of each existing directory, `path` itself included where it is one.
    """
    resolved = path.resolve()
    for directory in [*reversed(resolved.parents), resolved]:
        if not directory.exists():
            return None
        if directory.is_dir() and not _may_search(directory.stat(), account):
            return directory
    return None


def _may_search(status: os.stat_result, account: ServerAccount) -> bool:
    if status.st_uid == account.uid:
        return bool(status.st_mode & stat.S_IXUSR)
    if status.st_gid == account.gid:
        return bool(status.st_mode & stat.S_IXGRP)
    return bool(status.st_mode & stat.S_IXOTH)


def refuse_unreachable(folder: Path, account: ServerAccount | None) -> None:
    """Raise StateFolderError where the servers' account cannot get to `folder`."""
    blocking = blocking_directory(folder, account) if account else None
    if account and blocking:
        raise StateFolderError(
            f"The servers run as '{account.name}', which cannot pass {blocking} on the way to "
            f"{folder}: use a state folder outside it (MAINTENANCE_STATE), such as one below "
            "/var/lib, or allow passing with chmod o+x."
        )


def make_passable_directory(path: Path, account: ServerAccount | None) -> None:
    """Create `path` and its missing parents, open to passing (711) where an account needs that.

    What exists already keeps its mode. The mode is set afterwards, whatever the umask is.
    """
    if path.is_dir():
        return
    make_passable_directory(path.parent, account)
    path.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        path.chmod(0o711)


def make_server_directory(path: Path, account: ServerAccount | None) -> None:
    """Create `path` if missing, private to the servers' account."""
    path.mkdir(mode=0o700, exist_ok=True)
    if account is not None:
        os.chown(path, account.uid, account.gid)
