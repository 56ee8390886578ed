"""The four checklists as data: which task runs when, and which line of the guide it answers."""

from maintenance.schedules.daily import DAILY
from maintenance.schedules.model import Schedule
from maintenance.schedules.monthly import MONTHLY
from maintenance.schedules.quarterly import QUARTERLY
from maintenance.schedules.weekly import WEEKLY

#: The checklists of the guide, by the word that names them on the command line.
CHECKLISTS: dict[str, tuple[Schedule, ...]] = {
    "daily": DAILY,
    "weekly": WEEKLY,
    "monthly": MONTHLY,
    "quarterly": QUARTERLY,
}

__all__ = ["CHECKLISTS", "Schedule"]
