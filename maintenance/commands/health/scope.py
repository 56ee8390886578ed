"""What a health check is, and what it may look at."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field

from maintenance.conf import Configuration, DatabaseTarget
from maintenance.core.job import EarlierRuns, NoEarlierRuns
from maintenance.core.reports import Report


@dataclass(frozen=True, slots=True)
class Scope:
    """What is to be looked at: the configuration, and the databases that were chosen from it.

    ``earlier`` is what it is compared with.
    """

    configuration: Configuration
    databases: Mapping[str, DatabaseTarget]
    earlier: EarlierRuns = field(default_factory=NoEarlierRuns)


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """One check: ``measure`` returns a report for each thing that it looks at, and never raises
    for one that is down."""

    name: str
    summary: str
    measure: Callable[[Scope], Iterable[Report]]
