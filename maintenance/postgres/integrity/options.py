"""What the integrity check can be asked."""

from dataclasses import dataclass
from typing import Literal

Scope = Literal["indexes", "heap", "off"]

#: What one subject may spend on reading rows; what it does not reach, the next run does.
READING_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class IntegrityOptions:
    """What to look into besides the catalogs.

    ``amcheck`` is what the extension of this name verifies: btree indexes, tables (heap) as well,
    or nothing. ``reading_seconds`` is the time that each subject may spend on reading rows.
    """

    amcheck: Scope = "indexes"
    reading_seconds: float = READING_SECONDS
