"""Media as targets: where a site keeps what people upload, and what may become of its images."""

from typing import Self

from pydantic import Field, model_validator

from maintenance.conf.databases import Dangerous, MaintenanceWindow
from maintenance.conf.references import resolve_secret
from maintenance.conf.values import Ratio, Section
from maintenance.core.errors import ConfigurationError


class MediaReference(Section):
    """A query that names files: one column, each value a name relative to the storage's root."""

    database: str
    sql: str


class MediaTarget(Section):
    """A place of media files: a ``path`` on this machine, or a ``storage`` of ``settings.STORAGES``.

    ``path`` may be a reference (``"env:SITE_MEDIA"``), which :meth:`resolved` follows.

    Images larger than ``maximum_width`` x ``maximum_height`` pixels are made to fit; what is written
    is smaller by ``minimum_saving_ratio`` or is not written. Files of more than
    ``maximum_file_bytes`` or ``maximum_pixels`` are not decoded. ``exclude`` are glob patterns of
    names that nobody touches. ``originals`` is a folder of the same place that keeps what was there
    before; empty keeps nothing. ``references`` say which files are in use, beside the file fields of
    the installed models (``models``); ``orphan_exceptions`` are patterns of names that no row needs
    to name.
    """

    path: str = ""
    storage: str = ""
    # The guide: optimize_image(image_file, max_size=(800, 800), quality=85).
    maximum_width: int = Field(default=800, gt=0, le=65_535)
    maximum_height: int = Field(default=800, gt=0, le=65_535)
    quality: int = Field(default=85, ge=1, le=95)  # Pillow: "Values above 95 should be avoided"
    minimum_saving_ratio: Ratio = 0.1  # below, another loss of quality buys little
    maximum_file_bytes: int = Field(default=32 * 1024**2, gt=0)  # each worker holds one in memory
    # 4 bytes a pixel in memory. Pillow itself warns from 89 million.
    maximum_pixels: int = Field(default=50_000_000, gt=0, le=89_000_000)
    jobs: int = Field(default=2, gt=0, le=64)  # images at work at once
    exclude: tuple[str, ...] = ()
    originals: str = ""
    models: bool = False
    references: tuple[MediaReference, ...] = ()
    orphan_exceptions: tuple[str, ...] = ()
    # A row is committed after its file was stored; a deploy or an import may take days.
    orphan_minimum_age_seconds: float = Field(default=7 * 86_400, ge=0)
    # More is rather a query that forgets something than so many files that nobody needs.
    orphan_share_limit_ratio: Ratio = 0.25
    windows: tuple[MaintenanceWindow, ...] = ()
    allow: tuple[Dangerous, ...] = ()

    @model_validator(mode="after")
    def _one_source(self) -> Self:
        if bool(self.path) == bool(self.storage):
            raise ValueError('give either "path" or "storage" (of settings.STORAGES)')
        if self.path and not self.path.startswith(("/", "env:")):
            raise ValueError('"path" must be absolute, or a reference "env:NAME"')
        return self

    @model_validator(mode="after")
    def _originals_lie_inside(self) -> Self:
        parts = self.originals.strip("/").split("/")
        if self.originals.startswith("/") or ".." in parts:
            raise ValueError(
                '"originals" must be a folder inside of the place, such as "originals"'
            )
        return self

    def resolved(self) -> Self:
        """Return the target with the folder that it refers to. Raises ``ConfigurationError``."""
        path = resolve_secret(self.path)
        if path and not path.startswith("/"):
            raise ConfigurationError(
                f'{self.path} holds "{path}", which is no absolute path: write the whole path there.'
            )
        return self.model_copy(update={"path": path})
