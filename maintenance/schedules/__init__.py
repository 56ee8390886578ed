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

#: How often a checklist looks, in days; the longest month and quarter.
PERIOD_DAYS = {"daily": 1, "weekly": 7, "monthly": 31, "quarterly": 92}

#: How often a task of the checklists looks, in days, by its short name: by the most frequent of them.
LOOKS_EVERY_DAYS: dict[str, int] = {
    schedule.task: PERIOD_DAYS[checklist]
    for checklist in sorted(CHECKLISTS, key=lambda name: -PERIOD_DAYS[name])
    for schedule in CHECKLISTS[checklist]
}

__all__ = ["CHECKLISTS", "LOOKS_EVERY_DAYS", "PERIOD_DAYS", "Schedule"]
