"""Which media files are in use: by the file fields of the installed models."""

import unicodedata
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from maintenance.conf import MediaTarget
from maintenance.web.images.seen import fingerprint

if TYPE_CHECKING:
    from django.db.models import FileField, Model

#: Rows that are fetched at once.
ROWS_AT_ONCE = 2000


def name_number(name: str) -> int:
    """Return a number for a name as rows and file systems write it.

    A leading slash and the way that accents are composed make no difference: in doubt a file is in
    use.
    """
    return fingerprint(unicodedata.normalize("NFC", name.removeprefix("./").lstrip("/")), 0, 0)


def names_in_models(target: MediaTarget) -> Iterator[str]:
    """Yield the names in every file field whose files lie in this place, empty ones left out.

    Rows are read through the base manager, so that none is hidden, a few thousand at a time. Where
    no field keeps files there, nothing is yielded.
    """
    for model, field, prefix in file_fields(target):
        rows = model._base_manager.exclude(**{field.name: ""}).values_list(field.name, flat=True)
        for name in rows.iterator(chunk_size=ROWS_AT_ONCE):
            if name:
                yield f"{prefix}{name}"


def file_fields(target: MediaTarget) -> Iterator[tuple[type["Model"], "FileField", str]]:
    """Yield models with their file fields in this place, and what stands before names there."""
    from django.apps import apps  # noqa: PLC0415 - other sites need no Django
    from django.db.models import FileField  # noqa: PLC0415

    for model in apps.get_models(include_auto_created=True):
        if model._meta.proxy:
            continue
        for field in model._meta.local_fields:
            if isinstance(field, FileField):
                prefix = _prefix(field.storage, target)
                if prefix is not None:
                    yield model, field, prefix


def _prefix(storage: Any, target: MediaTarget) -> str | None:
    """Return what a storage's names lack in this place; ``None`` where it is another place."""
    from django.core.files.storage import storages  # noqa: PLC0415

    other = storages[target.storage] if target.storage else None
    own_path = getattr(storage, "location", None)
    other_path = target.path or getattr(other, "location", None)
    if own_path and other_path:
        own, place = Path(own_path).resolve(), Path(other_path).resolve()
        if not own.is_relative_to(place):
            return None
        inner = own.relative_to(place).as_posix()
        return "" if inner == "." else f"{inner}/"
    return "" if other is not None and storage == other else None
