"""Files that appear whole or not at all, on whatever storage Django is given."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from django.core.files.base import ContentFile
from django.core.files.storage import FileSystemStorage, Storage

from maintenance.core.errors import MaintenanceError
from maintenance.core.redaction import redact

T = TypeVar("T")

_PARTIAL_SUFFIX = ".part"
#: So many files are deleted at once where each costs a request; a local file costs less than its thread.
DELETING_THREADS = 8


class LogStoreUnavailable(MaintenanceError):
    """The storage is full or down. The ledger still has the report; say so and go on.

    ``left_over`` names files of a report that was not written whole, where they could not be removed either.
    """

    left_over: tuple[str, ...] = ()


class WholeFiles:
    """A storage, asked so that its failures are all :class:`LogStoreUnavailable`."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage

    def write(self, name: str, content: bytes) -> None:
        """Put ``content`` under ``name``, in place of what is there."""
        self._asked(f"write {name}", lambda: self._write_into_its_folder(name, content))

    def _write_into_its_folder(self, name: str, content: bytes) -> None:
        try:
            self._write(name, content)
        except FileNotFoundError:
            # Somebody found its folder empty, and removed it before the file was in it.
            self._write(name, content)

    def _write(self, name: str, content: bytes) -> None:
        path = self._local_path(name)
        if path is None:
            # An object store shows an object only when its upload is complete.
            self._storage.delete(name)
            self._storage.save(name, ContentFile(content))
            return
        # The storage writes into the open, so it writes elsewhere; it also makes the folders and
        # sets the permissions that the project chose.
        partial_name = name + _PARTIAL_SUFFIX
        self._storage.delete(partial_name)  # of a process that was killed here
        partial = Path(self._storage.path(self._storage.save(partial_name, ContentFile(content))))
        try:
            with partial.open("rb") as written:
                os.fsync(written.fileno())
            partial.replace(path)
        except OSError:
            partial.unlink(missing_ok=True)
            raise

    def read(self, name: str) -> bytes:
        """Return the content of a file. Raises ``FileNotFoundError`` or ``NotADirectoryError``."""

        def contents() -> bytes:
            with self._storage.open(name, "rb") as file:
                return bytes(file.read())

        return self._asked(f"read {name}", contents, FileNotFoundError, NotADirectoryError)

    def listing(self, folder: str) -> tuple[list[str], list[str]]:
        """Return the names of folders and files in ``folder``; both empty where it is not there."""
        try:
            folders, files = self._asked(
                f"list {folder or '/'}",
                lambda: self._storage.listdir(folder),
                FileNotFoundError,
                NotADirectoryError,
            )
        except (FileNotFoundError, NotADirectoryError):
            return [], []
        return [str(name) for name in folders], [str(name) for name in files]

    def written_at(self, name: str) -> float:
        """Return when a file was last written, in seconds since 1970; 0 where that is unknown."""
        try:
            return self._asked(
                f"look at {name}",
                lambda: self._storage.get_modified_time(name).timestamp(),
                FileNotFoundError,
                NotImplementedError,
            )
        except (FileNotFoundError, NotImplementedError):
            return 0.0

    def delete(self, name: str) -> None:
        """Remove a file, and on a file system the folders that it leaves empty; gone is fine."""
        self.delete_alone(name)
        path = self._local_path(name)
        if path is not None:
            self.delete_alone(name + _PARTIAL_SUFFIX)  # of a process that was killed as it wrote
            self._remove_empty_folders(path.parent)

    def delete_all(self, names: Sequence[str]) -> None:
        """Remove files as :meth:`delete` does, in any order; after a failure no more are begun."""
        if isinstance(self._storage, FileSystemStorage):
            for name in names:
                self.delete(name)
            return
        pool = ThreadPoolExecutor(DELETING_THREADS, thread_name_prefix="log-store")
        try:
            for _done in pool.map(self.delete, names):
                pass
        finally:  # also at the soft time limit of a run
            pool.shutdown(cancel_futures=True)

    def delete_alone(self, name: str) -> None:
        """Remove a file and leave its folder, in which somebody may be about to write; gone is fine."""
        with suppress(NotADirectoryError):
            self._asked(f"delete {name}", lambda: self._storage.delete(name), NotADirectoryError)

    def _remove_empty_folders(self, folder: Path) -> None:
        root = Path(self._storage.path("")).resolve()
        try:
            while folder.resolve() != root and not any(folder.iterdir()):
                folder.rmdir()
                folder = folder.parent
        except OSError:  # someone just wrote there, or removed it first: either way it is settled
            return

    def _local_path(self, name: str) -> Path | None:
        """Return where a file lies; ``None`` on other storages, some of which make paths up."""
        if not isinstance(self._storage, FileSystemStorage):
            return None
        return Path(self._storage.path(name))

    def _asked(self, what: str, question: Callable[[], T], *answers: type[Exception]) -> T:
        """Ask; errors named in ``answers`` pass, all others become :class:`LogStoreUnavailable`."""
        passing: tuple[type[Exception], ...] = (LogStoreUnavailable, *answers)
        try:
            return question()
        except passing:
            raise
        except Exception as error:  # each storage backend has errors of its own
            raise _unavailable(what, error) from error


def _unavailable(what: str, error: Exception) -> LogStoreUnavailable:
    reason = getattr(error, "strerror", None) or str(error).strip() or "no reason given"
    return LogStoreUnavailable(
        f"The log store could not {what}: {type(error).__name__}: {redact(reason)}."
        " Look at its free space, its rights and its address (settings.STORAGES)."
    )
