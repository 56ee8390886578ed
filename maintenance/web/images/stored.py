"""Media files behind Django's storage API: S3 and its like, or a storage of the site's own."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from maintenance.conf import MediaTarget
from maintenance.core.errors import ConfigurationError, TargetUnavailable
from maintenance.core.suggestions import did_you_mean
from maintenance.web.images.folder import FolderPlace
from maintenance.web.images.places import PART_SUFFIX, MediaFile, Passed, Place, is_left_out
from maintenance.web.images.recode import LeftAlone, Reason

if TYPE_CHECKING:
    from django.core.files.storage import Storage


def storage_place(target: MediaTarget, *, writes: bool) -> Place:
    """Return the place behind an alias of ``settings.STORAGES``.

    A storage that is a folder of this machine is treated as that folder, where a rename is atomic.
    Raises :class:`ConfigurationError` for an alias that does not exist.
    """
    from django.core.files.storage import (  # noqa: PLC0415 - the pure parts need no Django
        FileSystemStorage,
        InvalidStorageError,
        storages,
    )

    try:
        storage = storages[target.storage]
    except InvalidStorageError:
        hint = did_you_mean(target.storage, storages.backends)
        raise ConfigurationError(f'settings.STORAGES has no "{target.storage}". {hint}') from None
    if isinstance(storage, FileSystemStorage):
        location = str(storage.location)
        return FolderPlace(location, target.exclude, target.originals, writes=writes)
    return StoragePlace(storage, target.exclude, target.originals, writes=writes)


class StoragePlace:
    """A storage without renames.

    Where it overwrites (S3), a save is one request, and atomic there. Where it does not, the new
    content is stored under a name beside first: between the deletion and the second save the file
    is away for a moment, and the next walk brings it back after a kill. Sizes and times cost two
    calls a file.
    """

    def __init__(
        self,
        storage: "Storage",
        exclude: tuple[str, ...] = (),
        originals: str = "",
        *,
        writes: bool = True,
    ) -> None:
        self._storage = storage
        self._exclude = exclude
        self._originals = originals.strip("/")
        self._writes = writes

    def walk(self, after: str = "") -> Iterator[MediaFile | Passed]:
        """See :meth:`maintenance.web.images.places.Place.walk`."""
        after_parts = after.split("/") if after else []
        try:
            yield from self._walk("", after_parts)
        except NotImplementedError:
            raise TargetUnavailable(
                "This storage cannot list its files (Storage.listdir), so they cannot be walked."
            ) from None

    def _walk(self, folder: str, after: list[str]) -> Iterator[MediaFile | Passed]:
        first, rest = (after[0], after[1:]) if after else ("", [])
        folders, files = self._storage.listdir(folder)
        prefix = f"{folder}/" if folder else ""
        for base in [base for base in files if base.endswith(PART_SUFFIX)] if self._writes else []:
            files.append(base.removesuffix(PART_SUFFIX))
            yield from self._mend(prefix + base)
        is_folder = {base for base in folders if base}
        for base in sorted({*is_folder, *files}):
            if base < first or (base == first and not rest):
                continue
            name = prefix + base
            if is_left_out(name, self._exclude, self._originals) or name.endswith(PART_SUFFIX):
                continue
            if base in is_folder:
                yield from self._walk(name, rest if base == first else [])
            else:
                yield from self._one(name)

    def _one(self, name: str) -> Iterator[MediaFile | Passed]:
        try:
            yield self._look(name)
        except FileNotFoundError:
            return
        except OSError as error:
            yield Passed(name, f"{Reason.UNREADABLE}: {error}")

    def _look(self, name: str) -> MediaFile:
        modified = self._storage.get_modified_time(name)
        return MediaFile(name, self._storage.size(name), int(modified.timestamp() * 1e6) * 1000)

    def require_replaceable(self, file: MediaFile) -> None:
        """Let every file pass: a storage says only when it is written to that it refuses."""

    def read(self, file: MediaFile) -> bytes:
        """See :meth:`maintenance.web.images.places.Place.read`."""
        with self._storage.open(file.name, "rb") as opened:
            data: bytes = opened.read(file.size_bytes + 1)
        if len(data) != file.size_bytes:
            raise LeftAlone(Reason.CHANGED)
        return data

    def replace(self, file: MediaFile, data: bytes) -> MediaFile:
        """See :meth:`maintenance.web.images.places.Place.replace`."""
        self._keep_original(file)
        if self._look(file.name) != file:
            raise LeftAlone(Reason.CHANGED)
        if self._storage.get_available_name(file.name) == file.name:  # it overwrites
            self._save(file.name, data)
        else:
            beside = self._save_beside(file.name, data)
            self._storage.delete(file.name)
            self._save(file.name, data)
            self._storage.delete(beside)
        return self._look(file.name)

    def _save_beside(self, name: str, data: bytes) -> str:
        beside = name + PART_SUFFIX
        self._storage.delete(beside)
        self._save(beside, data)
        if self._storage.size(beside) != len(data):
            self._storage.delete(beside)
            raise LeftAlone(Reason.UNWRITABLE, "the storage kept another size than it was given")
        return beside

    def _save(self, name: str, data: bytes) -> None:
        from django.core.files.base import ContentFile  # noqa: PLC0415

        given = self._storage.save(name, ContentFile(data))
        if given != name:
            self._storage.delete(given)
            raise LeftAlone(Reason.UNWRITABLE, f"the storage would call it {given}")

    def _keep_original(self, file: MediaFile) -> None:
        if not self._originals:
            return
        kept = f"{self._originals}/{file.name}"
        if not self._storage.exists(kept):
            self._save(kept, self.read(file))

    def exists(self, name: str) -> bool:
        """See :meth:`maintenance.web.images.places.Place.exists`."""
        from django.core.exceptions import SuspiciousOperation  # noqa: PLC0415

        try:
            return self._storage.exists(name)
        except SuspiciousOperation:  # a name that leads out of the storage
            return False

    def delete(self, file: MediaFile) -> None:
        """See :meth:`maintenance.web.images.places.Place.delete`."""
        if self._look(file.name) != file:
            raise LeftAlone(Reason.CHANGED)
        self._storage.delete(file.name)

    def _mend(self, beside: str) -> Iterator[Passed]:
        """Bring back a file that was away when a run was killed, and remove the copy beside it.

        The new content, stored in full, is told by a file that is away or shorter: the last save
        had begun. In any other case the file under its own name is whole.
        """
        name = beside.removesuffix(PART_SUFFIX)
        is_away = not self._storage.exists(name)
        if is_away or self._storage.size(name) < self._storage.size(beside):
            with self._storage.open(beside, "rb") as opened:
                data = opened.read()
            self._storage.delete(name)
            self._save(name, data)
            yield Passed(name, "brought back: a run was killed while it replaced it")
        self._storage.delete(beside)
