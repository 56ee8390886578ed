"""How far a digest looks back."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Literal

#: The first digest of a kind looks back so far; each later one to where the one before ended.
SPANS = {"daily": timedelta(days=1), "weekly": timedelta(days=7)}


@dataclass(frozen=True, slots=True)
class DigestOptions:
    """``period`` is ``daily`` or ``weekly``."""

    period: Literal["daily", "weekly"] = "daily"
