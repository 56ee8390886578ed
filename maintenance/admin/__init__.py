"""The operator's pages in Django's admin: runs, findings, schedules, and running a task by hand.

Django's autodiscovery imports this package; the modules below register their pages.
"""

from maintenance.admin import findings, performance_targets, policies, runs, schedules

__all__ = ["findings", "performance_targets", "policies", "runs", "schedules"]
