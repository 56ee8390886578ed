"""Which indexes nobody reads, and which cost more than they bring."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, Severity, by_seriousness
from maintenance.core.job import Job
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted, listed, seconds_in_words
from maintenance.postgres.connection import connect
from maintenance.postgres.django_models import models_by_table
from maintenance.postgres.indexes.age import KnownAge, measure_horizons
from maintenance.postgres.indexes.catalog import (
    Definition,
    ForeignKey,
    IndexMeasurement,
    IndexState,
    definitions_of,
    measure_indexes,
)
from maintenance.postgres.indexes.guards import (
    Families,
    UnreadIndex,
    rarely_read_indexes,
    unread_indexes,
)
from maintenance.postgres.indexes.migrations import drops_named_by_model, unenforced_keys
from maintenance.postgres.indexes.options import UnusedIndexOptions
from maintenance.postgres.indexes.replicas import (
    ReplicaScans,
    measure_replicas,
    with_replica_scans,
)
from maintenance.postgres.indexes.structure import covers
from maintenance.postgres.indexes.usage import bounded_table, uncounted

TITLE = "Unused indexes"


@dataclass(frozen=True, slots=True)
class UnusedIndexRules:
    """Smaller indexes are left out; no verdict before the counters cover ``window_seconds``."""

    minimum_bytes: int
    window_seconds: float
    writes_per_page_saved: float = 10.0

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
            thresholds.rare_index_writes_per_page_saved,
        )


@dataclass(frozen=True, slots=True)
class Judgement:
    """What is known of the indexes that nobody, or hardly anybody, reads.

    ``withheld_because`` speaks of all of them and is empty where a verdict can be given;
    ``too_young`` holds, by oid, for how many seconds those are known to exist that may be younger
    than the window must be.
    """

    measurement: IndexMeasurement
    replicas: tuple[ReplicaScans, ...]
    rules: UnusedIndexRules
    unread: tuple[UnreadIndex, ...]
    rarely_read: tuple[UnreadIndex, ...]
    withheld_because: str
    too_young: Mapping[int, float]

    @property
    def loose(self) -> list[UnreadIndex]:
        """The unread indexes that nothing speaks for."""
        return [entry for entry in self.unread if not entry.kept_because]

    def withheld_of(self, entry: UnreadIndex) -> str:
        """Return why no verdict can be given on one index."""
        if not self.withheld_because and entry.index.oid in self.too_young:
            known = self.too_young[entry.index.oid]
            return (
                f"it is known to exist for {seconds_in_words(known)} only,"
                f" not for {seconds_in_words(self.rules.window_seconds)}: a later run will tell"
            )
        return self.withheld_because


def report_unused_indexes(
    job: Job[DatabaseTarget, UnusedIndexOptions], thresholds: Thresholds
) -> Report:
    """Name the indexes that no query has read in the counter window, unless they serve otherwise.

    Until the window is long enough, on the target and on each configured replica, each is a
    candidate and the verdict is withheld; then those that are read too rarely for their writes are
    named as well. Nothing is dropped. Raises what :func:`connect` raises.
    """
    rules = UnusedIndexRules.of(job.options, thresholds)
    with connect(job.target, purpose="unused-indexes") as conn:
        job.progress.update(0, 3, phase="measuring", unit="steps")
        measurement = measure_indexes(conn, job.target)
        if not measurement.counts:
            return Report(TITLE, "The server counts no index scans.", (uncounted(),))
        owners = models_by_table(conn, job.target)
        keys = (*measurement.foreign_keys, *unenforced_keys(owners))
        unqueried = job.target.unqueried_replication
        clients = tuple(c for c in measurement.replication_clients if not c.is_among(unqueried))
        measurement = replace(measurement, foreign_keys=keys, replication_clients=clients)
        age = KnownAge(measurement.window.measured_at, measure_horizons(conn), job.previous_state)
        job.progress.update(1, 3, phase="asking replicas", unit="steps")
        replicas = measure_replicas(conn, job.target)
        job.progress.update(2, 3, phase="judging", unit="steps")
        judgement = judge(measurement, replicas, age, rules)
        named = [*judgement.loose, *judgement.rarely_read]
        wanted = [entry.index for entry in named if not judgement.withheld_of(entry)]
        definitions = definitions_of(conn, wanted, measurement.indexes)
    job.progress.update(3, 3, phase="done", unit="steps")
    report = unused_report(judgement, definitions)
    findings = drops_named_by_model(report.findings, measurement.indexes, owners)
    state = age.state_of(entry.index for entry in named)
    return replace(report, findings=tuple(findings), state=state)


def judge(
    measurement: IndexMeasurement,
    replicas: Sequence[ReplicaScans],
    age: KnownAge,
    rules: UnusedIndexRules,
) -> Judgement:
    """Decide which indexes of a size worth a word are unread or read too rarely."""
    indexes = with_replica_scans(measurement.indexes, replicas)
    families = Families(indexes)
    withheld = withheld_because(measurement, replicas, rules)
    unread = unread_indexes(indexes, measurement.foreign_keys)
    rarely_read = () if withheld else _rarely_read(indexes, measurement.foreign_keys, rules)
    known = {
        entry.index.oid: age.seconds(entry.index, families.members_of(entry.index))
        for entry in (*unread, *rarely_read)
    }
    young = {oid: seconds for oid, seconds in known.items() if seconds < rules.window_seconds}
    large = rules.minimum_bytes
    return Judgement(
        measurement=measurement,
        replicas=tuple(replicas),
        rules=rules,
        unread=tuple(entry for entry in unread if entry.size_bytes >= large),
        # The writes before an index was made are not its own, so that no ratio stands for it.
        rarely_read=tuple(
            e for e in rarely_read if e.size_bytes >= large and e.index.oid not in young
        ),
        withheld_because=withheld,
        too_young=young,
    )


def _rarely_read(
    indexes: Sequence[IndexState], foreign_keys: Collection[ForeignKey], rules: UnusedIndexRules
) -> tuple[UnreadIndex, ...]:
    """Return what is read too rarely, without what another index may be dropped in favour of."""
    by_table: dict[int, list[IndexState]] = {}
    for index in indexes:
        by_table.setdefault(index.table_oid, []).append(index)
    return tuple(
        entry
        for entry in rarely_read_indexes(indexes, foreign_keys, rules.writes_per_page_saved)
        if not any(
            other.scans and covers(entry.index, other) for other in by_table[entry.index.table_oid]
        )
    )


def withheld_because(
    measurement: IndexMeasurement, replicas: Sequence[ReplicaScans], rules: UnusedIndexRules
) -> str:
    """Return why zero scans do not yet mean unused, empty where they do."""
    if measurement.is_standby:
        return "this is a standby, and the primary's scans are not known here"
    seconds = measurement.window.seconds
    needed = seconds_in_words(rules.window_seconds)
    if seconds is None:
        return f"the server does not say since when it counts, and {needed} are needed"
    if seconds < rules.window_seconds:
        return f"the counters must cover {needed} first"
    reasons = (replica.withheld_because(rules.window_seconds) for replica in replicas)
    return next((reason for reason in reasons if reason), _unasked(measurement, len(replicas)))


def _unasked(measurement: IndexMeasurement, asked: int) -> str:
    """Say which clients may scan what nobody has asked them for; empty where all were asked."""
    clients = measurement.replication_clients
    if len(clients) <= asked:
        return ""
    names = listed([client.name for client in clients], len(clients))
    return (
        f"this server has {counted(len(clients), 'replication client')} ({names}),"
        f" {asked or 'none'} of them asked, and what the others scan is not known here"
    )


def unused_report(judgement: Judgement, definitions: Mapping[int, Definition]) -> Report:
    """Say which indexes can go, which may, and which must stay though nobody reads them."""
    measurement, loose = judgement.measurement, judgement.loose
    certain = [entry for entry in loose if not judgement.withheld_of(entry)]
    findings = [
        _unused_finding(entry, judgement, definitions.get(entry.index.oid)) for entry in loose
    ]
    findings += [
        _rare_finding(entry, judgement, definitions.get(entry.index.oid))
        for entry in judgement.rarely_read
    ]
    # Candidates are no measure of unused space: their number shrinks while the window grows.
    metric = "unused_index_candidate_bytes" if judgement.withheld_because else "unused_index_bytes"
    counted_entries = loose if judgement.withheld_because else certain
    return Report(
        title=TITLE,
        summary=_unused_summary(judgement, certain),
        findings=tuple(by_seriousness(findings)),
        tables=(_unread_table(judgement),),
        facts={
            "indexes_examined": len(measurement.indexes),
            "counters_cover_seconds": measurement.window.seconds,
            "window_needed_seconds": judgement.rules.window_seconds,
            "minimum_bytes": judgement.rules.minimum_bytes,
            "replication_clients": [client.name for client in measurement.replication_clients],
            "replicas_asked": [replica.address for replica in judgement.replicas],
        },
        samples=(Sample(metric, sum(entry.size_bytes for entry in counted_entries)),),
    )


def _where(judgement: Judgement) -> str:
    """Say for which time and on which servers the scans are counted."""
    window = judgement.measurement.window.in_words
    asked = sum(not replica.problem for replica in judgement.replicas)
    return f"{window}, here or on {counted(asked, 'replica')}" if asked else window


def _unused_finding(
    entry: UnreadIndex, judgement: Judgement, definition: Definition | None
) -> Finding:
    index = entry.index
    size = bytes_in_words(entry.size_bytes)
    since = f"no scan in {_where(judgement)}"
    withheld = judgement.withheld_of(entry)
    if withheld:
        sentence = (
            f"{index.qualified_name} ({size}) is a candidate: {since};"
            f" the verdict is withheld, because {withheld}."
        )
        advice = "Do not drop it yet." + _way_out(judgement)
    else:
        sentence = (
            f"{index.qualified_name} ({size}) is unused: {since}, while its table took"
            f" {counted(entry.writes, 'write')} that each index must follow."
        )
        advice = "Drop it, if no yearly job and no other server needs it."
    return Finding(
        code="unused-index",
        severity=Severity.INFO if withheld else Severity.WARNING,
        subject=index.qualified_name,
        sentence=sentence,
        evidence=_evidence(entry, judgement),
        advice=advice + _notes(entry),
        commands=definition.drop if definition else (),
        undo=definition.create if definition else (),
    )


def _way_out(judgement: Judgement) -> str:
    """Say how the report learns of replication clients that were not asked."""
    if not _unasked(judgement.measurement, len(judgement.replicas)):
        return ""
    return (
        ' Name servers that are queried as "replicas" of this target, and as "unqueried_replication"'
        " (application or slot) what nobody queries: a backup's receiver of WAL, a standby that waits"
        " for a failover. Drop the slots of servers that are gone."
    )


def _rare_finding(
    entry: UnreadIndex, judgement: Judgement, definition: Definition | None
) -> Finding:
    index = entry.index
    return Finding(
        code="rarely-used-index",
        severity=Severity.INFO,
        subject=index.qualified_name,
        sentence=(
            f"{index.qualified_name} ({bytes_in_words(entry.size_bytes)}) costs more than it"
            f" can have saved: {counted(entry.scans, 'scan')} in {_where(judgement)} saved the reading of"
            f" {counted(entry.pages_saved, 'page')} at most, and {counted(entry.writes, 'write')}"
            " had to follow it."
        ),
        evidence=_evidence(entry, judgement),
        advice=(
            "Find out who scans it before you drop it: the planner's own look at the ends of an"
            " index counts as a scan, but so does a page that somebody waits for." + _notes(entry)
        ),
        commands=definition.drop if definition else (),
        undo=definition.create if definition else (),
    )


def _evidence(entry: UnreadIndex, judgement: Judgement) -> dict[str, object]:
    return {
        "table": entry.index.table_name,
        "size_bytes": entry.size_bytes,
        "scans": entry.scans,
        "window_seconds": judgement.measurement.window.seconds,
        "writes": entry.writes,
    }


def _notes(entry: UnreadIndex) -> str:
    if entry.index.is_partitioned:
        return " Dropping a partitioned index locks the table and all partitions for a moment."
    return ""


def _unused_summary(judgement: Judgement, certain: Sequence[UnreadIndex]) -> str:
    unread, loose = judgement.unread, judgement.loose
    examined = counted(len(judgement.measurement.indexes), "index", "indexes")
    kept = len(unread) - len(loose)
    keeping = f"; {kept} without a scan must stay for other reasons" if kept else ""
    rare = len(judgement.rarely_read)
    if rare:
        keeping += f"; {rare} {'is' if rare == 1 else 'are'} read too rarely for the writes"
    if not loose:
        return f"None of {examined} looks unused in {_where(judgement)}{keeping}."
    if judgement.withheld_because:
        verb = "is a candidate" if len(loose) == 1 else "are candidates"
        return (
            f"{_of(loose, examined)} {verb} after {_where(judgement)};"
            f" the verdict is withheld, because {judgement.withheld_because}{keeping}."
        )
    young = len(loose) - len(certain)
    if young:
        needed = seconds_in_words(judgement.rules.window_seconds)
        keeping = f"; {young} more may be younger than {needed}{keeping}"
    verb = "was" if len(certain) == 1 else "were"
    return f"{_of(certain, examined)} {verb} not read in {_where(judgement)}{keeping}."


def _of(entries: Sequence[UnreadIndex], examined: str) -> str:
    size = f" ({bytes_in_words(sum(entry.size_bytes for entry in entries))})" if entries else ""
    return f"{len(entries) or 'None'} of {examined}{size}"


def _unread_table(judgement: Judgement) -> Table:
    ordered = sorted(
        judgement.unread, key=lambda e: (bool(e.kept_because), -e.size_bytes, e.index.oid)
    )
    rows = [
        {
            "index": entry.index.qualified_name,
            "size_bytes": entry.size_bytes,
            "scans": 0,
            "writes": entry.writes,
            "verdict": f"kept: {entry.kept_because}"
            if entry.kept_because
            else ("candidate" if judgement.withheld_of(entry) else "unused"),
        }
        for entry in ordered
    ]
    return bounded_table("Indexes without a scan", rows)
