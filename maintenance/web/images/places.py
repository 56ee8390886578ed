"""Where media files lie: a folder of this machine, or whatever Django's storage API reaches."""

from collections.abc import Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Protocol

from maintenance.conf import MediaTarget
from maintenance.web.images.seen import fingerprint

#: How files that are being written are called. Nothing else is ever taken for one of ours.
PART_SUFFIX = ".maintenance-part"


@dataclass(frozen=True, slots=True)
class MediaFile:
    """One file: ``name`` is relative to the place, with slashes."""

    name: str
    size_bytes: int
    modified_ns: int

    @property
    def fingerprint(self) -> int:
        """A number for the file as it is; see :func:`maintenance.web.images.seen.fingerprint`."""
        return fingerprint(self.name, self.size_bytes, self.modified_ns)


@dataclass(frozen=True, slots=True)
class Passed:
    """Something that the walk passes by, with the reason."""

    name: str
    reason: str


class Place(Protocol):
    """What a walk needs of a place.

    Methods raise ``OSError``, and ``LeftAlone`` for a reason that lies in the file.
    """

    def walk(self, after: str = "") -> Iterator[MediaFile | Passed]:
        """Yield every file once, in the order of names, folder by folder, from ``after`` on.

        Symbolic links are never followed. Memory grows with the largest folder. What vanishes
        meanwhile is left out.
        """

    def require_replaceable(self, file: MediaFile) -> None:
        """Raise where it is plain, without reading it, that a file cannot be replaced."""

    def read(self, file: MediaFile) -> bytes:
        """Return the whole content of a file that is still as the walk saw it."""

    def replace(self, file: MediaFile, data: bytes) -> MediaFile:
        """Give a file new content under its name, whole or not at all; return it as it is then."""

    def exists(self, name: str) -> bool:
        """Tell whether something has this name, also behind a link; true where nobody can tell."""

    def delete(self, file: MediaFile) -> None:
        """Delete a file that is still as the walk saw it."""


def place_of(target: MediaTarget, *, writes: bool) -> Place:
    """Return the place of a target; only one that ``writes`` clears up what a killed run left.

    Raises :class:`TargetUnavailable` and :class:`ConfigurationError`.
    """
    if target.path:
        from maintenance.web.images.folder import FolderPlace  # noqa: PLC0415

        return FolderPlace(target.path, target.exclude, target.originals, writes=writes)
    from maintenance.web.images.stored import storage_place  # noqa: PLC0415

    return storage_place(target, writes=writes)


def is_left_out(name: str, exclude: tuple[str, ...], originals: str) -> bool:
    """Tell whether nobody touches a file: by pattern, or because it is a kept original."""
    folder = originals.strip("/")
    is_original = bool(folder) and (name == folder or name.startswith(f"{folder}/"))
    return is_original or any(fnmatchcase(name, pattern) for pattern in exclude)


def printable(name: str) -> str:
    """Return a name as it can be shown and stored: what cannot be printed is escaped."""
    if name.isprintable():
        return name
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)
