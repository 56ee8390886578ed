"""One line of a checklist."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Schedule:
    """Run ``task`` on each of its targets when ``cron`` says so.

    ``cron`` has the five fields of crontab(5), read in the configured timezone. ``line`` is the
    guide's own line that this answers, empty for work that the guide asks for elsewhere.
    """

    task: str
    cron: str
    line: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)

    @property
    def cron_fields(self) -> dict[str, str]:
        """The fields by the names that django-celery-beat gives them."""
        names = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
        return dict(zip(names, self.cron.split(), strict=True))
