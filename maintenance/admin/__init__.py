"""The operator's pages in Django's admin: runs, findings, messages, schedules, running a task by hand.

Django's autodiscovery imports this package; the modules below register their pages.
"""

from maintenance.admin import (
    findings,
    muting,
    notifications,
    performance_targets,
    policies,
    runs,
    schedules,
)

__all__ = [
    "findings",
    "muting",
    "notifications",
    "performance_targets",
    "policies",
    "runs",
    "schedules",
]
