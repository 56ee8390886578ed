"""What a runbook is."""

from dataclasses import dataclass
from enum import StrEnum


class Source(StrEnum):
    """A measurement that a runbook asks for; :mod:`maintenance.commands.diagnosing` takes it.

    The first ones are analyses of ``analyze_db_performance`` by their names.
    """

    QUERIES = "queries"
    MISSING_INDEXES = "missing-indexes"
    LONG_RUNNING = "long-running"
    IDLE_IN_TRANSACTION = "idle-in-transaction"
    BLOCKING = "blocking"
    CONNECTIONS = "connections"
    CACHE_HIT = "cache-hit"
    VACUUM = "vacuum"
    VACUUM_HEALTH = "vacuum-health"
    CHECKPOINTS = "checkpoints"
    TEMPORARY_FILES = "temporary-files"
    ACCESS_LOG = "access-log"
    PERFORMANCE_LOG = "performance-log"
    CACHE_RATIOS = "cache-ratios"
    DATABASE_CPU = "database-cpu"
    PROCESSES = "processes"
    REDIS_MEMORY = "redis-memory"
    STREAMS = "streams"
    ABANDONED_STREAMS = "abandoned-streams"
    COMPACT_ENCODINGS = "compact-encodings"
    STALE_CACHE = "stale-cache"


@dataclass(frozen=True, slots=True)
class Cause:
    """One thing that may be behind a symptom.

    A finding of one of ``codes`` speaks for it; that all ``sources`` were measured and none was
    found speaks against it. ``explained_by`` is the runbook whose own subject it is.
    """

    title: str
    codes: frozenset[str]
    sources: tuple[Source, ...]
    next_step: str
    explained_by: str = ""


@dataclass(frozen=True, slots=True)
class Runbook:
    """A symptom with its causes, the most likely first.

    ``symptom_codes`` are findings of ``symptom_sources`` that say it is there now. ``otherwise`` is
    the next step where nothing speaks for any cause.
    """

    name: str
    title: str
    symptom: str
    symptom_codes: frozenset[str]
    symptom_sources: tuple[Source, ...]
    causes: tuple[Cause, ...]
    otherwise: str

    @property
    def sources(self) -> tuple[Source, ...]:
        """All that has to be measured, each once."""
        asked = (*self.symptom_sources, *(s for cause in self.causes for s in cause.sources))
        return tuple(dict.fromkeys(asked))

    @property
    def codes(self) -> frozenset[str]:
        """The codes of every finding that it knows what to make of."""
        return self.symptom_codes.union(*(cause.codes for cause in self.causes))

    @property
    def own_codes(self) -> frozenset[str]:
        """The codes of findings that it explains itself."""
        own = (cause.codes for cause in self.causes if not cause.explained_by)
        return self.symptom_codes.union(*own)

    @property
    def command(self) -> str:
        """How it is walked."""
        return f"python manage.py maintenance diagnose {self.name}"
