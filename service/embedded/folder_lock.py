"""One process at a time in a folder, enforced by the kernel and released with the process."""

import errno
import fcntl
import os
from pathlib import Path

from service.embedded.errors import StateFolderError

HOLDER_FILE = ".holder.pid"


class FolderLock:
    """An exclusive flock(2) on a directory, with the holder's pid beside it for messages.

    The lock is on the directory itself, so that looking at a foreign folder leaves no trace in it.
    Python opens files close-on-exec: servers started by the holder do not inherit the lock, and a
    server that outlives its holder does not keep it.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock at once.

        Raises StateFolderError where another process holds it or the file system has no locks.
        """
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            os.close(descriptor)
            raise StateFolderError(self._refusal(error)) from None
        self._descriptor = descriptor

    def record_holder(self) -> None:
        """Write down this process's pid, once the folder is known to be ours."""
        (self.folder / HOLDER_FILE).write_text(f"{os.getpid()}\n")

    def release(self) -> None:
        """Give the lock back; a second call does nothing."""
        if self._descriptor is None:
            return
        os.close(self._descriptor)
        self._descriptor = None

    def _refusal(self, error: OSError) -> str:
        if error.errno not in {errno.EWOULDBLOCK, errno.EACCES}:
            return (
                f"{self.folder} lies on a file system that cannot lock folders ({error.strerror}): "
                "set MAINTENANCE_STATE to a folder on a local disk."
            )
        try:
            holder = f" (pid {int((self.folder / HOLDER_FILE).read_text())})"
        except (OSError, ValueError):
            holder = ""
        return (
            f"{self.folder} is in use by another running instance{holder}: stop that one first, or "
            "set MAINTENANCE_STATE to another folder."
        )
