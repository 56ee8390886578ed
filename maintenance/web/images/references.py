"""Which media files are in use: by the file fields of the installed models."""

import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import TYPE_CHECKING, Any

from maintenance.conf import MediaTarget
from maintenance.core.errors import Skipped
from maintenance.web.images.seen import fingerprint

if TYPE_CHECKING:
    from django.db.models import FileField, Model

#: Rows that are fetched at once.
ROWS_AT_ONCE = 2000

#: What storages call that in which keys are unique (django-storages): S3 and Google, Azure.
_CONTAINERS = ("bucket_name", "azure_container")


@dataclass(frozen=True, slots=True)
class NameSource:
    """Something that says which files are in use. ``label`` is what reports call it."""

    label: str
    names: Iterable[str]


@dataclass(frozen=True, slots=True)
class Lead:
    """How a storage's names become names of a place: without ``cut``, behind ``put``."""

    cut: str = ""
    put: str = ""

    def applied(self, name: str) -> str | None:
        """Return the name in the place; ``None`` for one that lies outside of it."""
        plain = name.removeprefix("./").lstrip("/")
        return self.put + plain.removeprefix(self.cut) if plain.startswith(self.cut) else None


def name_number(name: str) -> int:
    """Return a number for a name as rows and file systems write it.

    A leading slash and the way that accents are composed make no difference: in doubt a file is in
    use.
    """
    return fingerprint(unicodedata.normalize("NFC", name.removeprefix("./").lstrip("/")), 0, 0)


def names_in_models(target: MediaTarget) -> Iterator[str]:
    """Yield the names in every file field whose files lie in this place, empty ones left out.

    No manager is asked, which could hide rows; rows are read a few thousand at a time. Where no field
    keeps files there, nothing is yielded. Raises as :func:`file_fields`.
    """
    from django.db.models import QuerySet  # noqa: PLC0415 - other sites need no Django

    for model, field, lead in list(file_fields(target)):
        rows = (
            QuerySet[Any, Any](model).exclude(**{field.name: ""}).values_list(field.name, flat=True)
        )
        for name in rows.iterator(chunk_size=ROWS_AT_ONCE):
            found = lead.applied(name) if name else None
            if found:
                yield found


def file_fields(target: MediaTarget) -> Iterator[tuple[type["Model"], "FileField", Lead]]:
    """Yield models with their file fields in this place, and how their names are written there.

    Raises :class:`Skipped` where a field's storage does not say whether its files lie there.
    """
    from django.apps import apps  # noqa: PLC0415 - other sites need no Django
    from django.db.models import FileField  # noqa: PLC0415

    for model in apps.get_models(include_auto_created=True):
        if model._meta.proxy:
            continue
        for field in model._meta.local_fields:
            if isinstance(field, FileField):
                try:
                    lead = _lead(field.storage, target)
                except _Untold:
                    raise Skipped(
                        _untold(f"{model._meta.label}.{field.name}", field.storage)
                    ) from None
                if lead is not None:
                    yield model, field, lead


class _Untold(Exception):
    """Two storages do not say enough of themselves to be told apart."""


def _untold(field: str, storage: Any) -> str:
    return (
        f"it cannot be told whether the files of {field} lie in this place: its storage"
        f" ({type(storage).__name__}) or that of the place has no bucket_name and location."
        " Set models = false, and name the columns in references."
    )


def _lead(storage: Any, target: MediaTarget) -> Lead | None:
    """Return how a storage's names are written in this place; ``None`` where it is another place."""
    from django.core.files.storage import storages  # noqa: PLC0415

    other = storages[target.storage] if target.storage else None
    if other is not None and storage == other:
        return Lead()
    own_folder = _folder(storage)
    place_folder = Path(target.path).resolve() if target.path else _folder(other)
    if own_folder is not None and place_folder is not None:
        return _between(own_folder, place_folder)
    if own_folder is not None or place_folder is not None:
        return None
    own_container, container = _container(storage), _container(other)
    if own_container != container:
        return None
    return _between(_keys_below(storage), _keys_below(other))


def _folder(storage: Any) -> Path | None:
    """Return the folder of a storage; ``None`` where it is none of this machine."""
    try:
        return Path(storage.path("")).resolve()
    except NotImplementedError:  # what Django's Storage says of all that is no local file
        return None


def _container(storage: Any) -> str:
    for name in _CONTAINERS:
        if value := getattr(storage, name, None):
            return str(value)
    raise _Untold


def _keys_below(storage: Any) -> PurePosixPath:
    location = getattr(storage, "location", None)
    if location is None:
        raise _Untold
    return PurePosixPath(str(location).strip("/"))


def _between(own: PurePath, place: PurePath) -> Lead | None:
    if own.is_relative_to(place):
        return Lead(put=_with_slash(own.relative_to(place)))
    if place.is_relative_to(own):
        return Lead(cut=_with_slash(place.relative_to(own)))
    return None


def _with_slash(path: PurePath) -> str:
    inner = path.as_posix()
    return "" if inner == "." else f"{inner}/"
