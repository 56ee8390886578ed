"""What one aspect of a server has to say, to be joined with others into a report."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding
from maintenance.core.reports import Sample, Table


@dataclass(frozen=True, slots=True)
class Aspect:
    """Findings and figures of one topic. ``clause`` is half a sentence; ``state`` is for the next look."""

    clause: str
    findings: tuple[Finding, ...] = ()
    tables: tuple[Table, ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    samples: tuple[Sample, ...] = ()
    state: Mapping[str, Any] = field(default_factory=dict)


#: Measures and judges one topic; the mapping is the ``state`` that it left at the last look.
Examine = Callable[[Connection, Thresholds, Mapping[str, Any]], Aspect]
