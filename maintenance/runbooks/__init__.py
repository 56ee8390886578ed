"""Runbooks: a symptom, its causes in the order of their likelihood, and how each is told. Pure."""

from maintenance.runbooks.database_cpu import DATABASE_CPU
from maintenance.runbooks.memory import MEMORY
from maintenance.runbooks.model import Runbook
from maintenance.runbooks.redis_memory import REDIS_MEMORY
from maintenance.runbooks.slow_pages import SLOW_PAGES

#: By the names that ``maintenance diagnose`` knows them by, in the order of the guide.
RUNBOOKS: dict[str, Runbook] = {
    book.name: book for book in (SLOW_PAGES, DATABASE_CPU, MEMORY, REDIS_MEMORY)
}

__all__ = ["RUNBOOKS", "Runbook"]
