"""How this very Django project serves its static files, by its settings."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maintenance.conf import SiteTarget

#: Files of apps that are compared with what was collected.
MOST_COMPARED = 20_000


@dataclass(frozen=True, slots=True)
class OwnSettings:
    """What the settings say. ``compress`` is django-compressor's switch, ``None`` without it.

    ``uncollected`` are files that changed, or came, since ``collectstatic`` ran.
    """

    static_url: str
    static_root: str
    names_hashed: bool
    whitenoise: bool
    compress: bool | None
    compress_offline: bool
    uncollected: tuple[str, ...] = ()


def own_settings(target: SiteTarget) -> OwnSettings | None:
    """Return how this project serves its files; ``None`` for a site that is another one."""
    if not target.own:
        return None
    from django.conf import settings  # noqa: PLC0415 - other sites need no Django
    from django.contrib.staticfiles.storage import ManifestFilesMixin  # noqa: PLC0415
    from django.core.files.storage import storages  # noqa: PLC0415

    with_compressor = "compressor" in settings.INSTALLED_APPS
    root = target.static_root or str(getattr(settings, "STATIC_ROOT", None) or "")
    return OwnSettings(
        static_url=_first(target, "static_url", settings.STATIC_URL),
        static_root=root,
        names_hashed=isinstance(storages["staticfiles"], ManifestFilesMixin),
        whitenoise=any("whitenoise" in name for name in settings.MIDDLEWARE),
        compress=bool(getattr(settings, "COMPRESS_ENABLED", not settings.DEBUG))
        if with_compressor
        else None,
        compress_offline=bool(getattr(settings, "COMPRESS_OFFLINE", False)),
        uncollected=_uncollected(root),
    )


def _first(target: SiteTarget, name: str, setting: Any) -> str:
    """Return what the configuration says where it says anything, the project's setting else."""
    return str(getattr(target, name)) if name in target.model_fields_set else str(setting)


def _uncollected(root: str) -> tuple[str, ...]:
    """Return the names that ``collectstatic`` would copy: by times, as it judges itself."""
    if not root or not Path(root).is_dir():
        return ()
    from django.contrib.staticfiles.finders import get_finders  # noqa: PLC0415

    found: dict[str, bool] = {}
    for finder in get_finders():
        for path, storage in finder.list([]):
            name = f"{prefix}/{path}" if (prefix := getattr(storage, "prefix", "")) else path
            if name in found or len(found) >= MOST_COMPARED:
                continue
            found[name] = _is_newer(Path(storage.path(path)), Path(root) / name)
    return tuple(name for name, is_newer in found.items() if is_newer)


def _is_newer(source: Path, collected: Path) -> bool:
    try:
        # To the second, as collectstatic compares: some file systems know no parts of it.
        return int(source.stat().st_mtime) > int(collected.stat().st_mtime)
    except FileNotFoundError:
        return source.exists()
    except OSError:
        return False
