"""Indexes that another index of the same table makes superfluous: duplicates and prefixes."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, Severity, by_seriousness
from maintenance.core.job import Job
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted
from maintenance.postgres.connection import connect
from maintenance.postgres.django_models import models_by_table
from maintenance.postgres.indexes.catalog import (
    Definition,
    IndexMeasurement,
    IndexState,
    definitions_of,
    measure_indexes,
)
from maintenance.postgres.indexes.guards import Families, unread_indexes
from maintenance.postgres.indexes.migrations import (
    declared_indexes,
    drops_named_by_model,
    unenforced_keys,
)
from maintenance.postgres.indexes.options import RedundantIndexOptions
from maintenance.postgres.indexes.structure import covers, included_of, is_usable, key_of
from maintenance.postgres.indexes.usage import bounded_table

TITLE = "Duplicate and redundant indexes"


@dataclass(frozen=True, slots=True)
class RedundantIndex:
    """An index that ``cover`` can stand in for.

    ``kept_because`` is empty where it can be dropped, ``chosen_because`` says why it goes rather
    than its duplicate. Size, scans and writes of a partitioned index are those of its partitions.
    """

    index: IndexState
    cover: IndexState
    is_duplicate: bool
    size_bytes: int
    cover_bytes: int
    scans: int
    writes: int
    kept_because: str
    chosen_because: str


def report_redundant_indexes(
    job: Job[DatabaseTarget, RedundantIndexOptions], thresholds: Thresholds
) -> Report:
    """Name the indexes whose work another one can do, and say which of two is to go and why.

    Nothing is dropped. Raises what :func:`connect` raises.
    """
    minimum_bytes = (
        thresholds.redundant_index_minimum_bytes
        if job.options.minimum_bytes is None
        else job.options.minimum_bytes
    )
    with connect(job.target, purpose="redundant-indexes") as conn:
        job.progress.update(0, 2, phase="measuring", unit="steps")
        measurement = measure_indexes(conn, job.target)
        job.progress.update(1, 2, phase="judging", unit="steps")
        owners = models_by_table(conn, job.target)
        keys = (*measurement.foreign_keys, *unenforced_keys(owners))
        measurement = replace(measurement, foreign_keys=keys)
        declared = declared_indexes(measurement.indexes, owners)
        redundant = [
            entry
            for entry in redundant_indexes(measurement, declared)
            if entry.size_bytes >= minimum_bytes
        ]
        wanted = [entry.index for entry in redundant if not entry.kept_because]
        definitions = definitions_of(conn, wanted, measurement.indexes)
    job.progress.update(2, 2, phase="done", unit="steps")
    report = redundant_report(measurement, redundant, definitions)
    named = drops_named_by_model(report.findings, measurement.indexes, owners)
    return replace(report, findings=tuple(named))


def redundant_indexes(
    measurement: IndexMeasurement, declared: Collection[int] = ()
) -> tuple[RedundantIndex, ...]:
    """Return the indexes that another one covers, each with the cover that is to stay.

    ``declared`` are the oids of those that a Django model declares.

    Whoever drops all that are not kept loses nothing: an index gives way only to one of higher
    rank, and the highest of its covers gives way to none. An index that nobody reads and that may
    go as unused covers none that is read, so that both reports can be followed together.
    """
    found = []
    judge = _Judge(measurement, declared)
    for group in _comparable(measurement.indexes):
        for index in group:
            covering = [
                other
                for other in group
                if covers(other, index)
                and judge.rank(other) > judge.rank(index)
                and not judge.may_go_first(other, index)
            ]
            if covering and not judge.is_part(index):
                found.append(judge.verdict(index, max(covering, key=judge.rank)))
    return tuple(found)


def _comparable(indexes: Sequence[IndexState]) -> Collection[list[IndexState]]:
    """Group what could cover one another: same table, access method, predicate and first column.

    Few indexes of a table begin alike, so that comparing each with each within a group is cheap.
    """
    groups: dict[object, list[IndexState]] = {}
    for index in indexes:
        if is_usable(index):
            first = (index.columns[0], index.operator_classes[0], index.sort_options[0])
            group = (index.table_oid, index.access_method, index.predicate, first)
            groups.setdefault(group, []).append(index)
    return [group for group in groups.values() if len(group) > 1]


class _Judge:
    """Decides between indexes, partitioned ones as a family."""

    def __init__(self, measurement: IndexMeasurement, declared: Collection[int]) -> None:
        self._measurement = measurement
        self._declared = declared
        self._families = Families(measurement.indexes)

    @cached_property
    def _unread(self) -> frozenset[int]:
        """The oids of what may go as unused: nothing has to know where no index covers another."""
        entries = unread_indexes(self._measurement.indexes, self._measurement.foreign_keys)
        return frozenset(entry.index.oid for entry in entries if not entry.kept_because)

    def rank(self, index: IndexState) -> tuple[int, int, int, bool, bool, bool, int]:
        """Order indexes that could stand in for one another; the highest stays.

        A partition's part of an index cannot go alone, and so stands above one beside it.
        """
        top = self._families.top_of(index)
        members = self._families.members_of(top)
        return (
            index.key_count,
            len(included_of(index)),
            max(importance_of(member) for member in members),
            top is not index,
            any(member.scans for member in members),
            top.oid in self._declared,
            -top.oid,
        )

    def is_part(self, index: IndexState) -> bool:
        """Tell whether the index belongs to a partitioned one, which is judged in its place."""
        return self._families.top_of(index) is not index

    def may_go_first(self, other: IndexState, index: IndexState) -> bool:
        """Tell whether ``other`` is itself to go as unused while ``index`` is read."""
        return self._families.top_of(other).oid in self._unread and index.oid not in self._unread

    def verdict(self, index: IndexState, cover: IndexState) -> RedundantIndex:
        """Put together what is said about a pair."""
        members = self._families.members_of(index)
        is_duplicate = key_of(index) == key_of(cover) and included_of(index) == included_of(cover)
        duties = (binding_duty_of(member) for member in members)
        return RedundantIndex(
            index=index,
            cover=cover,
            is_duplicate=is_duplicate,
            size_bytes=sum(member.size_bytes for member in members),
            cover_bytes=sum(m.size_bytes for m in self._families.members_of(cover)),
            scans=sum(member.scans for member in members),
            writes=sum(member.writes for member in members),
            kept_because=next((words for words in duties if words), ""),
            chosen_because=self._chosen_because(index, cover) if is_duplicate else "",
        )

    def _chosen_because(self, index: IndexState, cover: IndexState) -> str:
        ours, theirs = self.rank(index), self.rank(cover)
        if theirs[2] > ours[2]:
            return f"the other one {standing_of(self._families.members_of(cover))}"
        if theirs[3] != ours[3]:
            return f"the other one is part of {self._families.top_of(cover).qualified_name}"
        if theirs[4] != ours[4]:
            return "queries use the other one"
        if theirs[5] != ours[5]:
            return "a Django model declares the other one"
        return "nothing tells the two apart, and it was made or rebuilt last"


_IMPORTANCE = (
    ("is_primary", "is the primary key"),
    ("is_referenced", "is what foreign keys refer to"),
    ("has_constraint", "enforces a constraint"),
    ("is_replica_identity", "is the replica identity of the table"),
    ("is_unique", "keeps its values unique"),
    ("is_clustered", "is what the table is clustered on"),
)


def importance_of(index: IndexState) -> int:
    """Return how much an index does besides being read; 0 is nothing."""
    held = (len(_IMPORTANCE) - n for n, (name, _) in enumerate(_IMPORTANCE) if getattr(index, name))
    return next(held, 0)


def standing_of(members: Sequence[IndexState]) -> str:
    """Say the most important duty of an index or of its partitions."""
    most = max(members, key=importance_of)
    return next((words for name, words in _IMPORTANCE if getattr(most, name)), "")


def binding_duty_of(index: IndexState) -> str:
    """Return why a covered index must stay all the same, empty where nothing holds it.

    Uniqueness is no such reason: only an index that keeps the same values unique covers it.
    """
    duties = (
        (index.is_primary, "it is the primary key"),
        (index.is_referenced, "foreign keys refer to it"),
        (index.has_constraint, "it enforces a constraint"),
        (index.is_replica_identity, "it is the replica identity of its table"),
        (index.is_clustered, "its table is clustered on it"),
        (not is_usable(index), "it is invalid, which is another matter: see the analysis indexes"),
    )
    return next((words for holds, words in duties if holds), "")


def redundant_report(
    measurement: IndexMeasurement,
    redundant: Sequence[RedundantIndex],
    definitions: Mapping[int, Definition],
) -> Report:
    """Say which indexes can go because of which others."""
    loose = [entry for entry in redundant if not entry.kept_because]
    duplicates = sum(entry.is_duplicate for entry in loose)
    total_bytes = sum(entry.size_bytes for entry in loose)
    examined = counted(len(measurement.indexes), "index", "indexes")
    if loose:
        summary = (
            f"{len(loose)} of {examined} ({bytes_in_words(total_bytes)}) can go:"
            f" {counted(duplicates, 'duplicate')},"
            f" {len(loose) - duplicates} that a longer index covers."
        )
    else:
        summary = f"None of {examined} is a duplicate of another or covered by a longer one."
    return Report(
        title=TITLE,
        summary=summary,
        findings=tuple(
            by_seriousness(
                _finding(entry, measurement, definitions.get(entry.index.oid)) for entry in loose
            )
        ),
        tables=(_table(redundant),),
        facts={
            "indexes_examined": len(measurement.indexes),
            "counters_cover_seconds": measurement.window.seconds,
        },
        samples=(Sample("redundant_index_bytes", total_bytes),),
    )


def _finding(
    entry: RedundantIndex, measurement: IndexMeasurement, definition: Definition | None
) -> Finding:
    index, cover = entry.index, entry.cover
    size = bytes_in_words(entry.size_bytes)
    if entry.is_duplicate:
        sentence = (
            f"{index.qualified_name} ({size}) does the same as {cover.qualified_name}:"
            f" {_cost(entry, measurement)}."
        )
        advice = f"Drop it rather than the other one, because {entry.chosen_because}."
    else:
        sentence = (
            f"{index.qualified_name} ({size}) is redundant: {cover.qualified_name} begins with the"
            f" same columns and serves the same queries; {_cost(entry, measurement)}."
        )
        advice = (
            f"Drop it. Its queries will read the longer index"
            f" ({bytes_in_words(entry.cover_bytes)}) instead."
        )
    if index.is_partitioned:
        advice += " Dropping a partitioned index locks the table and all partitions for a moment."
    return Finding(
        code="duplicate-index" if entry.is_duplicate else "redundant-index",
        severity=Severity.WARNING if entry.is_duplicate else Severity.INFO,
        subject=index.qualified_name,
        sentence=sentence,
        evidence={
            "table": index.table_name,
            "covered_by": cover.qualified_name,
            "size_bytes": entry.size_bytes,
            "covered_by_size_bytes": entry.cover_bytes,
            "scans": entry.scans if measurement.counts else None,
            "writes": entry.writes if measurement.counts else None,
            "window_seconds": measurement.window.seconds,
        },
        advice=advice,
        commands=definition.drop if definition else (),
        undo=definition.create if definition else (),
    )


def _cost(entry: RedundantIndex, measurement: IndexMeasurement) -> str:
    if not measurement.counts:
        return "each write to the table has to follow both"
    return f"{counted(entry.writes, 'write')} had to follow both in {measurement.window.in_words}"


def _table(redundant: Sequence[RedundantIndex]) -> Table:
    ordered = sorted(redundant, key=lambda e: (bool(e.kept_because), -e.size_bytes, e.index.oid))
    rows = [
        {
            "index": entry.index.qualified_name,
            "covered_by": entry.cover.qualified_name,
            "kind": "duplicate" if entry.is_duplicate else "covered by a longer index",
            "size_bytes": entry.size_bytes,
            "scans": entry.scans,
            "verdict": f"kept: {entry.kept_because}" if entry.kept_because else "can go",
        }
        for entry in ordered
    ]
    return bounded_table("Indexes that another one covers", rows)
