"""The analyses of ``analyze_db_performance`` by their names in the guide."""

import logging
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import psycopg2
import psycopg2.errors

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.errors import (
    ConfigurationError,
    MissingRights,
    Skipped,
    TargetUnavailable,
)
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import EarlierRuns, Job, NoEarlierRuns
from maintenance.core.options import NoOptions
from maintenance.core.redaction import redact
from maintenance.core.reports import Report, joined
from maintenance.core.suggestions import require_known
from maintenance.core.wording import seconds_in_words
from maintenance.postgres.activity.review import (
    blocking,
    connections,
    idle_in_transaction,
    long_running,
    xmin,
)
from maintenance.postgres.bloat.indexes import IndexBloatOptions, report_index_bloat
from maintenance.postgres.bloat.tables import TableBloatOptions, report_table_bloat
from maintenance.postgres.capacity.cache_hit_ratio import review_database_cache_hit_ratio
from maintenance.postgres.capacity.growth import report_growth
from maintenance.postgres.capacity.review import report_sequences
from maintenance.postgres.connection import connect, reason_of
from maintenance.postgres.indexes.advice.report import report_index_advice
from maintenance.postgres.indexes.missing import MissingIndexOptions, report_missing_indexes
from maintenance.postgres.indexes.redundant import (
    RedundantIndexOptions,
    report_redundant_indexes,
)
from maintenance.postgres.indexes.unused import UnusedIndexOptions, report_unused_indexes
from maintenance.postgres.indexes.usage import report_index_usage
from maintenance.postgres.one_look import one_look
from maintenance.postgres.queries.review import review_slow_queries
from maintenance.postgres.queries.rules import SlowQueryOptions
from maintenance.postgres.queries.slow_log import review_slow_log
from maintenance.postgres.server.review import (
    report_checkpoints,
    report_checksums,
    report_collations,
    report_extensions,
    report_replication,
    report_temporary_files,
)
from maintenance.postgres.settings.review import review_database_settings
from maintenance.postgres.time_budget import OutOfTime, TimeBudget, queries_within
from maintenance.postgres.vacuum.health import report_table_upkeep, report_wraparound
from maintenance.postgres.vacuum.run import VacuumOptions, vacuum_analyze

#: How long one analysis may take: somebody waits for it at a terminal. Once it has passed, no
#: further statement begins; the one at work ends by its own statement timeout.
ANALYSIS_SECONDS = 120.0

#: Of these, so many may go to reading tables, and as many to reading indexes, whole.
EXACT_SECONDS = 90.0

_TOO_SLOW = "Run it while the server is quieter, or raise statement_timeout_seconds of this target."
_TRY_AGAIN = "Remove the reason, then run this analysis again."
_FAULT = "Please report it, with the traceback that stands in the log of this program."

logger = logging.getLogger(__name__)

#: A report on one database.
Measure = Callable[[Job[DatabaseTarget, Any], Thresholds], Report]


@dataclass(frozen=True, slots=True)
class Deadline:
    """Progress that nobody watches, and that ends an analysis between two steps."""

    budget: TimeBudget

    def update(
        self,
        done: int,  # noqa: ARG002
        total: int | None = None,  # noqa: ARG002
        *,
        phase: str = "",  # noqa: ARG002
        unit: str = "",  # noqa: ARG002
    ) -> None:
        """Raise :class:`OutOfTime` once the time is used up."""
        self.budget.require_more()


@dataclass(frozen=True, slots=True)
class Part:
    """One report of an analysis, by the function of ``task`` with these options."""

    task: str
    measure: Measure
    options: Any = field(default_factory=NoOptions)


@dataclass(frozen=True, slots=True)
class Analysis:
    """What one name stands for. Several parts are joined into one report.

    An overview ``includes`` other analyses, except those that are asked for by name beside it.
    """

    title: str
    parts: tuple[Part, ...]
    includes: tuple[str, ...] = ()

    def beside(self, names: Collection[str]) -> "Analysis":
        """Return the analysis with the parts of what it includes and nobody named."""
        extra = (
            part for name in self.includes if name not in names for part in ANALYSES[name].parts
        )
        return replace(self, parts=(*self.parts, *extra))


#: In the order of the guide. What each does, says the function behind it.
ANALYSES: Mapping[str, Analysis] = {
    "queries": Analysis(
        "Slow queries", (Part("review_slow_queries", review_slow_queries, SlowQueryOptions()),)
    ),
    "slow-log": Analysis(
        "Slow statements in the server's log",
        (Part("review_slow_queries", review_slow_log, SlowQueryOptions()),),
    ),
    "indexes": Analysis(
        "Indexes",
        (Part("report_unused_indexes", report_index_usage),),
        includes=("unused-indexes", "redundant-indexes", "missing-indexes"),
    ),
    "unused-indexes": Analysis(
        "Unused indexes",
        (Part("report_unused_indexes", report_unused_indexes, UnusedIndexOptions()),),
    ),
    "redundant-indexes": Analysis(
        "Duplicate and redundant indexes",
        (Part("report_redundant_indexes", report_redundant_indexes, RedundantIndexOptions()),),
    ),
    "missing-indexes": Analysis(
        "Missing indexes",
        (
            Part("report_missing_indexes", report_missing_indexes, MissingIndexOptions()),
            Part("report_missing_indexes", report_index_advice, MissingIndexOptions()),
        ),
    ),
    "bloat": Analysis(
        "Bloat",
        (
            Part("report_table_bloat", report_table_bloat, TableBloatOptions()),
            Part("report_index_bloat", report_index_bloat, IndexBloatOptions()),
        ),
    ),
    "long-running": Analysis(
        "Long-running statements and transactions", (Part("review_activity", long_running),)
    ),
    "idle-in-transaction": Analysis(
        "Idle transactions", (Part("review_activity", idle_in_transaction),)
    ),
    "xmin": Analysis("What holds back VACUUM", (Part("review_activity", xmin),)),
    "blocking": Analysis("Blocking", (Part("review_activity", blocking),)),
    "connections": Analysis("Connections", (Part("review_activity", connections),)),
    "cache-hit": Analysis(
        "Buffer cache", (Part("review_database_cache_hit_ratio", review_database_cache_hit_ratio),)
    ),
    "growth": Analysis("Growth", (Part("review_database_growth", report_growth),)),
    "sequences": Analysis(
        "Sequences and keys", (Part("review_database_growth", report_sequences),)
    ),
    "vacuum": Analysis(
        "Tables that need VACUUM or ANALYZE",
        (Part("vacuum_analyze", vacuum_analyze, VacuumOptions(dry_run=True)),),
    ),
    "vacuum-health": Analysis(
        "Vacuum health", (Part("review_vacuum_health", report_table_upkeep),)
    ),
    "wraparound": Analysis("Wraparound", (Part("review_vacuum_health", report_wraparound),)),
    "checkpoints": Analysis(
        "Checkpoints and WAL", (Part("review_database_server", report_checkpoints),)
    ),
    "replication": Analysis(
        "Replication and conflicts", (Part("review_database_server", report_replication),)
    ),
    "temporary-files": Analysis(
        "Temporary files", (Part("review_database_server", report_temporary_files),)
    ),
    "extensions": Analysis("Extensions", (Part("review_database_server", report_extensions),)),
    "collations": Analysis("Collations", (Part("review_database_server", report_collations),)),
    "checksums": Analysis("Data checksums", (Part("review_database_server", report_checksums),)),
    "settings": Analysis("Settings", (Part("review_database_settings", review_database_settings),)),
}


def run_analyses(
    target_name: str,
    target: DatabaseTarget,
    names: Sequence[str],
    thresholds: Thresholds,
    earlier: EarlierRuns | None = None,
    *,
    exact: bool = False,
) -> tuple[Report, ...]:
    """Run the named analyses and return one report each, in the order of ``names``.

    Each is compared with what ``earlier`` runs of its task left, with nothing by default.
    ``exact`` has bloat measured by reading the largest tables and indexes whole.

    Each has its own session and time limit; one that cannot be done, or that fails, leaves the
    others standing, and its report says why. What several read alike is read once. Nothing is
    changed. Raises :class:`UnknownName` before anything is measured, :class:`TargetUnavailable`
    where the server is down, and :class:`ConfigurationError` where it cannot be used at all.
    """
    for name in names:
        require_known("analysis", name, ANALYSES)
    measure = partial(
        _measured,
        target_name=target_name,
        target=target,
        thresholds=thresholds,
        earlier=earlier or NoEarlierRuns(),
        exact=exact,
    )
    with one_look():
        return tuple(_reports_of(names, target_name, measure))


def _reports_of(
    names: Sequence[str], target_name: str, measure: Callable[[Part, str], Report]
) -> Iterator[Report]:
    """Yield a report for each name; what was measured before the server went down stays."""
    outage: TargetUnavailable | None = None
    for number, name in enumerate(names):
        analysis = ANALYSES[name].beside(names)
        if outage is None:
            try:
                yield _run(analysis, target_name, measure)
                continue
            except TargetUnavailable as error:
                if number == 0:
                    raise
                outage = error
        lost = _not_measured(analysis.title, str(outage))
        yield replace(lost, title=_title(analysis, target_name))


def _run(analysis: Analysis, target_name: str, measure: Callable[[Part, str], Report]) -> Report:
    reports = [measure(part, analysis.title) for part in analysis.parts]
    return joined(_title(analysis, target_name), reports)


def _title(analysis: Analysis, target_name: str) -> str:
    return f"{analysis.title} of {target_name}"


def _measured(
    part: Part,
    subject: str,
    *,
    target_name: str,
    target: DatabaseTarget,
    thresholds: Thresholds,
    earlier: EarlierRuns,
    exact: bool,
) -> Report:
    """Return a part's report, or one that says why there is none.

    Raises :class:`TargetUnavailable` only if the server does not answer the next question either.
    """
    budget = TimeBudget(ANALYSIS_SECONDS)
    try:
        job = Job(
            target_name,
            limited(target),
            reading_whole(part.options) if exact else part.options,
            progress=Deadline(budget),
            previous_state=earlier.previous_state(part.task, target_name),
            history=earlier.history(target_name),
        )
        with queries_within(budget):
            return part.measure(job, thresholds)
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever one analysis meets, the others stand
        return _explained(error, subject, target_name, target)


def _explained(error: Exception, subject: str, target_name: str, target: DatabaseTarget) -> Report:
    """Return the report of an analysis that ``error`` ended."""
    if isinstance(error, MissingRights | Skipped):
        return _not_measured(subject, str(error), severity=Severity.INFO)
    if isinstance(error, OutOfTime):
        limit = seconds_in_words(ANALYSIS_SECONDS)
        return _not_measured(subject, f"The analysis did not end within {limit}.", _TOO_SLOW)
    if isinstance(error, TargetUnavailable):
        _require_answer(target)
        return _not_measured(subject, str(error))
    if isinstance(error, psycopg2.Error):
        advice = _TOO_SLOW if isinstance(error, psycopg2.errors.QueryCanceled) else _TRY_AGAIN
        return _not_measured(subject, f"PostgreSQL ended it: {reason_of(error)}.", advice)
    logger.error("The analysis %r of %s failed.", subject, target_name, exc_info=error)
    fault = redact(f"{type(error).__name__}: {error}")
    return _not_measured(subject, f"The analysis failed by a fault of its own ({fault}).", _FAULT)


def _require_answer(target: DatabaseTarget) -> None:
    """Raise :class:`TargetUnavailable` unless the server answers: only a session was ended then."""
    try:
        with connect(target, purpose="answering"):
            return
    except (MissingRights, psycopg2.Error):
        return  # an answer, too


def reading_whole(options: Any) -> Any:
    """Return the options with the exact mode, where they have one, within an analysis' time."""
    if not isinstance(options, TableBloatOptions | IndexBloatOptions):
        return options
    return replace(options, exact=True, exact_time_limit_seconds=EXACT_SECONDS)


def limited(target: DatabaseTarget) -> DatabaseTarget:
    """Return the target with a statement timeout of no more than an analysis may take in all."""
    seconds = target.statement_timeout_seconds or ANALYSIS_SECONDS
    return target.model_copy(update={"statement_timeout_seconds": min(seconds, ANALYSIS_SECONDS)})


def _not_measured(
    subject: str,
    reason: str,
    advice: str = _TRY_AGAIN,
    *,
    severity: Severity = Severity.WARNING,
) -> Report:
    return Report(
        title=subject,
        summary=f"Not measured: {reason}",
        findings=(
            Finding(
                code="not-measured",
                severity=severity,
                subject=subject.lower(),
                sentence=f"unavailable: {reason}",
                advice=advice,
                measured=False,
            ),
        ),
    )
