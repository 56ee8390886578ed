"""How large each part of the sample site is, as a function of its scale."""

from dataclasses import dataclass
from datetime import date
from typing import Final

from service.sample_site.errors import SampleSiteError

SMALLEST_SCALE: Final = 0.02
"""Below this, tables are too small for the faults to pass autovacuum's fixed thresholds."""

LARGEST_SCALE: Final = 100.0
"""Above this, row numbers of the largest table leave the range of the int4 columns that hold them."""

INT4_MAXIMUM: Final = 2**31 - 1
SEQUENCE_USED_RATIO: Final = 0.95


@dataclass(frozen=True)
class Shape:
    """Numbers of rows and keys; `as_of` is the day from which all dates count back (UTC midnight).

    A seed gives the same rows on the same day; on another day only the dates move along.
    """

    scale: float
    seed: int
    as_of: date

    def __post_init__(self) -> None:
        if not SMALLEST_SCALE <= self.scale <= LARGEST_SCALE:
            raise SampleSiteError(
                f"A scale of {self.scale:g} cannot be built: choose one from {SMALLEST_SCALE:g} to {LARGEST_SCALE:g}."
            )
        if not 0 <= self.seed < 2**31:
            raise SampleSiteError(
                f"The seed {self.seed} is out of range: choose an integer from 0 to {2**31 - 1}."
            )

    def rows(self, at_scale_one: int) -> int:
        return round(at_scale_one * self.scale)

    @property
    def users(self) -> int:
        # A multiple of 8, since follows are spread over eighths of the readers.
        return self.rows(2_500) * 8

    @property
    def recent_view_lists(self) -> int:
        return self.rows(2_000)

    @property
    def event_streams(self) -> int:
        return self.rows(500)

    def sql_parameters(self) -> dict[str, int | str]:
        """The named parameters of fill.sql and churn.sql."""
        return {
            "seed": self.seed,
            "as_of": f"{self.as_of.isoformat()} 00:00:00+00",
            "users": self.users,
            "authors": self.rows(6_000),
            "works": self.rows(24_000),
            "editions": self.rows(10_000) * 4,
            "statuses": self.rows(100_000),
            "follows": self.users * 5,
            "notifications": self.rows(150_000),
            "favorites": self.rows(60_000),
            "orphans": max(7, self.rows(120)),
            "importjobs": self.rows(400),
            "importitems": self.rows(80_000),
            "sessions": self.rows(64_000),
            "activities": self.rows(100_000),
            "readthroughs": max(1_500, self.rows(30_000)),
            "sequence_position": int(INT4_MAXIMUM * SEQUENCE_USED_RATIO),
        }
