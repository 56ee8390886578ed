"""Media files in a folder of this machine."""

import errno
import os
import stat
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from maintenance.core.errors import TargetUnavailable
from maintenance.web.images.ownership import require_replaceable, take_after
from maintenance.web.images.places import PART_SUFFIX, MediaFile, Passed, is_left_out
from maintenance.web.images.recode import LeftAlone, Reason

#: A file that is being written is a moment old; one that is older was left by a run that was killed.
LEFTOVER_SECONDS = 3600.0

#: The file system takes nothing more: the next file would fare no better.
FULL_OR_READ_ONLY = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})


class FolderPlace:
    """A folder. A file is replaced by a rename: readers see the old one or the new one, whole."""

    def __init__(
        self,
        path: str,
        exclude: tuple[str, ...] = (),
        originals: str = "",
        *,
        writes: bool = True,
    ) -> None:
        self._root = Path(path)
        self._exclude = exclude
        self._originals = originals.strip("/")
        self._writes = writes
        if not self._root.is_dir():
            raise TargetUnavailable(
                f"{path} is no folder on this machine. Correct the path of this target, or mount"
                " what should be there."
            )

    def walk(self, after: str = "") -> Iterator[MediaFile | Passed]:
        """See :meth:`maintenance.web.images.places.Place.walk`."""
        yield from self._walk("", after.split("/") if after else [])

    def _walk(self, folder: str, after: list[str]) -> Iterator[MediaFile | Passed]:
        first, rest = (after[0], after[1:]) if after else ("", [])
        try:
            names = sorted(os.listdir(self._root / folder))  # noqa: PTH208 - names, a million at times
        except FileNotFoundError:
            return
        except OSError as error:
            yield Passed(folder or ".", f"{Reason.UNREADABLE}: {error.strerror}")
            return
        for base in names:
            if base < first or (base == first and not rest):
                continue
            name = f"{folder}/{base}" if folder else base
            try:
                status = os.lstat(self._root / name)
            except OSError:  # it vanished
                continue
            if stat.S_ISDIR(status.st_mode):
                if not is_left_out(name, self._exclude, self._originals):
                    yield from self._walk(name, rest if base == first else [])
            else:
                yield from self._one(name, base, status)

    def _one(self, name: str, base: str, status: os.stat_result) -> Iterator[MediaFile | Passed]:
        if base.endswith(PART_SUFFIX):
            self._drop_leftover(name, status)
        elif is_left_out(name, self._exclude, self._originals):
            return
        elif not name.isascii() and not _is_utf8(name):
            yield Passed(os.fsencode(name).decode(errors="backslashreplace"), "a name not in UTF-8")
        elif stat.S_ISLNK(status.st_mode):
            yield Passed(name, "a symbolic link")
        elif stat.S_ISREG(status.st_mode):
            yield MediaFile(name, status.st_size, status.st_mtime_ns)

    def _drop_leftover(self, name: str, status: os.stat_result) -> None:
        """Remove what a killed run left half written; the file itself is whole."""
        is_old = time.time() - status.st_mtime > LEFTOVER_SECONDS
        if self._writes and is_old and stat.S_ISREG(status.st_mode):
            (self._root / name).unlink(missing_ok=True)

    def require_replaceable(self, file: MediaFile) -> None:
        """See :meth:`maintenance.web.images.places.Place.require_replaceable`."""
        path = self._root / file.name
        require_replaceable(path, self._unchanged(path, file))

    def read(self, file: MediaFile) -> bytes:
        """See :meth:`maintenance.web.images.places.Place.read`."""
        handle = os.open(self._root / file.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(handle, "rb") as opened:  # noqa: PTH123 - a descriptor
            status = os.fstat(handle)
            if not stat.S_ISREG(status.st_mode) or not _is_same(status, file):
                raise LeftAlone(Reason.CHANGED)
            # One more than it had: a file that grows is not read for ever.
            data = opened.read(file.size_bytes + 1)
        if len(data) != file.size_bytes:
            raise LeftAlone(Reason.CHANGED)
        return data

    def replace(self, file: MediaFile, data: bytes) -> MediaFile:
        """See :meth:`maintenance.web.images.places.Place.replace`.

        The new content is on the disk before the rename, and owner, group, mode and attributes are
        those of the old file, or it is left alone. A write of the site in the moment between the last look and the rename
        would be lost, as between any two writers of a file.
        """
        path = self._root / file.name
        part = path.parent / f".{uuid.uuid4().hex}{PART_SUFFIX}"
        before = self._unchanged(path, file)
        handle = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        try:
            with open(handle, "wb") as opened:  # noqa: PTH123 - a descriptor
                opened.write(data)
                opened.flush()
                take_after(handle, part, path, before)
                os.fsync(handle)
            written = os.lstat(part)
            self._keep_original(path, file)
            self._unchanged(path, file)
            part.replace(path)
        except BaseException:
            part.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)
        return MediaFile(file.name, written.st_size, written.st_mtime_ns)

    def exists(self, name: str) -> bool:
        """See :meth:`maintenance.web.images.places.Place.exists`."""
        try:
            (self._root / name).stat()
        except (FileNotFoundError, NotADirectoryError, ValueError):
            return False
        except OSError:
            return True
        return True

    def delete(self, file: MediaFile) -> None:
        """See :meth:`maintenance.web.images.places.Place.delete`."""
        path = self._root / file.name
        self._unchanged(path, file)
        path.unlink()

    def _unchanged(self, path: Path, file: MediaFile) -> os.stat_result:
        """Return the file's status. Raises ``LeftAlone`` where it is not as the walk saw it."""
        status = os.lstat(path)
        if not stat.S_ISREG(status.st_mode) or not _is_same(status, file):
            raise LeftAlone(Reason.CHANGED)
        kept = self._kept(file)
        is_ours = kept is not None and kept.exists() and kept.samefile(path)
        if status.st_nlink > (2 if is_ours else 1):
            # Space is won back only when the last name of the old content is gone.
            raise LeftAlone(Reason.LINKED)
        return status

    def _kept(self, file: MediaFile) -> Path | None:
        return self._root / self._originals / file.name if self._originals else None

    def _keep_original(self, path: Path, file: MediaFile) -> None:
        """Give the old content a second name, which costs no space of its own.

        The first original stays: what is replaced later is a version of ours or the site's.
        """
        kept = self._kept(file)
        if kept is None or kept.exists():
            return
        kept.parent.mkdir(parents=True, exist_ok=True)
        os.link(path, kept, follow_symlinks=False)
        _sync_folder(kept.parent)


def _is_same(status: os.stat_result, file: MediaFile) -> bool:
    return (status.st_size, status.st_mtime_ns) == (file.size_bytes, file.modified_ns)


def _is_utf8(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
