"""Which indexes nobody reads; the state of all of them is in :mod:`.index_usage`."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, Severity, by_seriousness
from maintenance.core.job import Job
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted, seconds_in_words
from maintenance.postgres.connection import connect
from maintenance.postgres.indexes.catalog import (
    Definition,
    IndexMeasurement,
    definitions_of,
    measure_indexes,
)
from maintenance.postgres.indexes.guards import UnreadIndex, unread_indexes
from maintenance.postgres.indexes.usage import bounded_table, report_index_usage, uncounted

__all__ = ["UnusedIndexOptions", "report_index_usage", "report_unused_indexes"]

TITLE = "Unused indexes"

_STANDBY_NOTE = (
    "Scans on standby servers are not counted here: look at pg_stat_user_indexes on each of them"
    " before dropping it."
)


@dataclass(frozen=True, slots=True)
class UnusedIndexOptions:
    """``minimum_bytes`` and ``window_seconds`` replace the configured thresholds for one run."""

    minimum_bytes: int | None = None
    window_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class UnusedIndexRules:
    """Smaller indexes are left out; no verdict before the counters cover ``window_seconds``."""

    minimum_bytes: int
    window_seconds: float

    @classmethod
    def of(cls, options: UnusedIndexOptions, thresholds: Thresholds) -> "UnusedIndexRules":
        """Take each value from the options where it is given, else from the thresholds."""
        return cls(
            thresholds.unused_index_minimum_bytes
            if options.minimum_bytes is None
            else options.minimum_bytes,
            thresholds.unused_index_window_seconds
            if options.window_seconds is None
            else options.window_seconds,
        )


def report_unused_indexes(
    job: Job[DatabaseTarget, UnusedIndexOptions], thresholds: Thresholds
) -> Report:
    """Name the indexes that no query has read in the counter window, unless they serve otherwise.

    Until the window is long enough each is a candidate and the verdict is withheld. Nothing is
    dropped. Raises what :func:`connect` raises.
    """
    rules = UnusedIndexRules.of(job.options, thresholds)
    with connect(job.target, purpose="unused-indexes") as conn:
        job.progress.update(0, 2, phase="measuring", unit="steps")
        measurement = measure_indexes(conn, job.target)
        if not measurement.counts:
            return Report(TITLE, "The server counts no index scans.", (uncounted(),))
        unread = _worth_reporting(measurement, rules)
        job.progress.update(1, 2, phase="judging", unit="steps")
        withheld = withheld_because(measurement, rules)
        wanted = [e.index for e in unread if not (withheld or e.kept_because)]
        definitions = definitions_of(conn, wanted, measurement.indexes)
    job.progress.update(2, 2, phase="done", unit="steps")
    return unused_report(measurement, unread, definitions, rules)


def _worth_reporting(
    measurement: IndexMeasurement, rules: UnusedIndexRules
) -> tuple[UnreadIndex, ...]:
    unread = unread_indexes(measurement.indexes, measurement.foreign_keys)
    return tuple(entry for entry in unread if entry.size_bytes >= rules.minimum_bytes)


def withheld_because(measurement: IndexMeasurement, rules: UnusedIndexRules) -> str:
    """Return why zero scans do not yet mean unused, empty where they do."""
    if measurement.is_standby:
        return "this is a standby, and the primary's scans are not known here"
    seconds = measurement.window.seconds
    needed = seconds_in_words(rules.window_seconds)
    if seconds is None:
        return f"the server does not say since when it counts, and {needed} are needed"
    if seconds < rules.window_seconds:
        return f"the counters must cover {needed} first"
    return ""


def unused_report(
    measurement: IndexMeasurement,
    unread: Sequence[UnreadIndex],
    definitions: Mapping[int, Definition],
    rules: UnusedIndexRules,
) -> Report:
    """Say which indexes can go, which may, and which must stay though nobody reads them."""
    withheld = withheld_because(measurement, rules)
    loose = [entry for entry in unread if not entry.kept_because]
    findings = [
        _unused_finding(entry, measurement, withheld, definitions.get(entry.index.oid))
        for entry in loose
    ]
    total_bytes = sum(entry.size_bytes for entry in loose)
    # Candidates are no measure of unused space: their number shrinks while the window grows.
    metric = "unused_index_candidate_bytes" if withheld else "unused_index_bytes"
    return Report(
        title=TITLE,
        summary=_unused_summary(measurement, unread, withheld),
        findings=tuple(by_seriousness(findings)),
        tables=(_unread_table(unread, withheld),),
        facts={
            "indexes_examined": len(measurement.indexes),
            "counters_cover_seconds": measurement.window.seconds,
            "window_needed_seconds": rules.window_seconds,
            "minimum_bytes": rules.minimum_bytes,
            "replication_clients": measurement.replication_clients,
        },
        samples=(Sample(metric, total_bytes),),
    )


def _unused_finding(
    entry: UnreadIndex,
    measurement: IndexMeasurement,
    withheld: str,
    definition: Definition | None,
) -> Finding:
    index = entry.index
    size = bytes_in_words(entry.size_bytes)
    since = f"no scan in {measurement.window.in_words}"
    if withheld:
        sentence = (
            f"{index.qualified_name} ({size}) is a candidate: {since};"
            f" the verdict is withheld, because {withheld}."
        )
        advice = "Do not drop it yet."
    else:
        sentence = (
            f"{index.qualified_name} ({size}) is unused: {since}, while its table took"
            f" {counted(entry.writes, 'write')} that each index must follow."
        )
        advice = "Drop it, if no yearly job and no other server needs it."
    if index.is_partitioned:
        advice += " Dropping a partitioned index locks the table and all partitions for a moment."
    return Finding(
        code="unused-index",
        severity=Severity.INFO if withheld else Severity.WARNING,
        subject=index.qualified_name,
        sentence=sentence,
        evidence={
            "table": index.table_name,
            "size_bytes": entry.size_bytes,
            "scans": 0,
            "window_seconds": measurement.window.seconds,
            "writes": entry.writes,
        },
        advice=f"{advice} {_STANDBY_NOTE}{_replicas(measurement)}",
        commands=definition.drop if definition else (),
        undo=definition.create if definition else (),
    )


def _replicas(measurement: IndexMeasurement) -> str:
    clients = measurement.replication_clients
    return f" {counted(clients, 'replication client')} of this server now." if clients else ""


def _unused_summary(
    measurement: IndexMeasurement, unread: Sequence[UnreadIndex], withheld: str
) -> str:
    examined = counted(len(measurement.indexes), "index", "indexes")
    loose = [entry for entry in unread if not entry.kept_because]
    kept = len(unread) - len(loose)
    keeping = f"; {kept} without a scan must stay for other reasons" if kept else ""
    if not loose:
        return f"None of {examined} looks unused in {measurement.window.in_words}{keeping}."
    size = bytes_in_words(sum(entry.size_bytes for entry in loose))
    if withheld:
        verb = "is a candidate" if len(loose) == 1 else "are candidates"
        return (
            f"{len(loose)} of {examined} ({size}) {verb} after {measurement.window.in_words};"
            f" the verdict is withheld, because {withheld}{keeping}."
        )
    verb = "was" if len(loose) == 1 else "were"
    return (
        f"{len(loose)} of {examined} ({size}) {verb} not read in"
        f" {measurement.window.in_words}{keeping}."
    )


def _unread_table(unread: Sequence[UnreadIndex], withheld: str) -> Table:
    loose = "candidate" if withheld else "unused"
    ordered = sorted(unread, key=lambda e: (bool(e.kept_because), -e.size_bytes, e.index.oid))
    rows = [
        {
            "index": entry.index.qualified_name,
            "size_bytes": entry.size_bytes,
            "scans": 0,
            "writes": entry.writes,
            "verdict": f"kept: {entry.kept_because}" if entry.kept_because else loose,
        }
        for entry in ordered
    ]
    return bounded_table("Indexes without a scan", rows)
