"""Analyses run one after the other: each within its time, what several read alike read once."""

import logging
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from threading import Event
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
from maintenance.core.redaction import redact
from maintenance.core.reports import Report, joined
from maintenance.core.suggestions import require_known
from maintenance.core.wording import seconds_in_words
from maintenance.postgres import analyses
from maintenance.postgres.analyses import Analysis, Part
from maintenance.postgres.bloat.options import IndexBloatOptions, TableBloatOptions
from maintenance.postgres.connection import connect, kept_sessions, reason_of
from maintenance.postgres.giving_way import GaveWay
from maintenance.postgres.one_look import one_look
from maintenance.postgres.time_budget import OutOfTime, TimeBudget, queries_within

#: How long one analysis may take: somebody waits for it at a terminal. Once it has passed, no
#: further statement begins; the one at work ends by its own statement timeout.
ANALYSIS_SECONDS = 120.0

#: Of these, so many may go to reading tables, and as many to reading indexes, whole.
EXACT_SECONDS = 90.0

_TOO_SLOW = "Run it while the server is quieter, or raise statement_timeout_seconds of this target."
_TRY_AGAIN = "Remove the reason, then run this analysis again."
_FAULT = "Please report it, with the traceback that stands in the log of this program."

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Deadline:
    """Progress that nobody watches, and that ends an analysis between two steps.

    ``stopped`` is set once nobody waits for its report any more.
    """

    budget: TimeBudget
    stopped: Event

    def update(
        self,
        done: int,  # noqa: ARG002
        total: int | None = None,  # noqa: ARG002
        *,
        phase: str = "",  # noqa: ARG002
        unit: str = "",  # noqa: ARG002
    ) -> None:
        """Raise :class:`OutOfTime` once the time is used up."""
        self.check()

    def check(self) -> None:
        """Raise :class:`OutOfTime` once the time is used up."""
        if self.stopped.is_set():
            raise OutOfTime
        self.budget.require_more()


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
    others standing, and its report says why. What several read alike is read once. No more than two
    sessions are at work, which wait for this process in turn. Nothing is changed. Raises :class:`UnknownName` before anything is measured, :class:`TargetUnavailable`
    where the server is down, and :class:`ConfigurationError` where it cannot be used at all.
    """
    for name in names:
        require_known("analysis", name, analyses.ANALYSES)
    stopped = Event()
    prepare = partial(
        _prepared,
        target_name=target_name,
        target=target,
        thresholds=thresholds,
        earlier=earlier or NoEarlierRuns(),
        exact=exact,
        stopped=stopped,
    )
    with one_look(), ThreadPoolExecutor(1, thread_name_prefix="analysis") as pool:
        try:
            return tuple(_reports_of(names, target_name, prepare, pool))
        finally:
            stopped.set()


#: Measures what was prepared.
_Measurement = Callable[[], Report]


def _reports_of(
    names: Sequence[str],
    target_name: str,
    prepare: Callable[[Part, str], _Measurement],
    pool: Executor,
) -> Iterator[Report]:
    """Yield a report for each name; what was measured before the server went down stays."""
    prepared_run = partial(_prepared_run, names=names, target_name=target_name, prepare=prepare)
    beside = {
        name: pool.submit(kept_sessions()(prepared_run(name)))
        for name in names
        if analyses.ANALYSES[name].reads_pages and len(names) > 1
    }
    outage: TargetUnavailable | None = None
    for number, name in enumerate(names):
        if outage is None:
            try:
                yield beside[name].result() if name in beside else prepared_run(name)()
                continue
            except TargetUnavailable as error:
                if number == 0:
                    raise
                outage = error
        lost = _not_measured(analyses.ANALYSES[name].title, str(outage))
        yield replace(lost, title=_title(analyses.ANALYSES[name], target_name))


def _prepared_run(
    name: str,
    *,
    names: Sequence[str],
    target_name: str,
    prepare: Callable[[Part, str], _Measurement],
) -> _Measurement:
    """Return what makes the report of one name, where all of ``names`` are asked for."""
    analysis = analyses.ANALYSES[name]
    included = (
        part for n in analysis.includes if n not in names for part in analyses.ANALYSES[n].parts
    )
    parts = [prepare(part, analysis.title) for part in (*analysis.parts, *included)]
    return lambda: joined(_title(analysis, target_name), [measure() for measure in parts])


def _title(analysis: Analysis, target_name: str) -> str:
    return f"{analysis.title} of {target_name}"


def _prepared(
    part: Part,
    subject: str,
    *,
    target_name: str,
    target: DatabaseTarget,
    thresholds: Thresholds,
    earlier: EarlierRuns,
    exact: bool,
    stopped: Event,
) -> _Measurement:
    """Return what measures a part. What earlier runs left is read now, in the calling thread."""
    try:
        job = Job(
            target_name,
            limited(target),
            reading_whole(part.options) if exact else part.options,
            previous_state=earlier.previous_state(part.task, target_name),
            history=earlier.history(target_name),
        )
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever one analysis meets, the others stand
        return partial(_explained, error, subject, target_name, target)
    return partial(_measured, part, job, subject, thresholds, stopped)


def _measured(
    part: Part,
    job: Job[DatabaseTarget, Any],
    subject: str,
    thresholds: Thresholds,
    stopped: Event,
) -> Report:
    """Return a part's report, or one that says why there is none.

    Raises :class:`TargetUnavailable` only if the server does not answer the next question either.
    """
    budget = TimeBudget(ANALYSIS_SECONDS)
    try:
        with queries_within(budget):
            return part.measure(replace(job, progress=Deadline(budget, stopped)), thresholds)
    except ConfigurationError:
        raise
    except Exception as error:  # noqa: BLE001 - whatever one analysis meets, the others stand
        return _explained(error, subject, job.target_name, job.target)


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
    if isinstance(error, GaveWay):
        return _not_measured(subject, f"It {error}.", _TRY_AGAIN)
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
