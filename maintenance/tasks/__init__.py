"""Thin Celery tasks, one line of work each.

Celery's autodiscovery imports this package only, so the modules are imported here.
"""

from maintenance.tasks import (
    caching,
    capacity,
    host,
    media,
    notifications,
    postgres,
    queues,
    redis,
    reports,
    web,
)

__all__ = [
    "caching",
    "capacity",
    "host",
    "media",
    "notifications",
    "postgres",
    "queues",
    "redis",
    "reports",
    "web",
]
