"""What the measured indexes mean: findings, the table of the report, its sums."""

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity, by_seriousness, unavailable
from maintenance.core.plots import Bar, BarChart
from maintenance.core.reports import Report, Sample, Table
from maintenance.core.wording import bytes_in_words, counted, listed, percent
from maintenance.postgres.bloat.damage import damaged

TITLE = "Index bloat"
CODE = "index-bloat"
EXACT_CODE = "index-bloat-exact"


class Source(StrEnum):
    """What an estimate rests on."""

    SAMPLE = "sampled rows"
    STATISTICS = "statistics of ANALYZE"
    BASELINE = "its smallest size a row so far"
    WHOLE = "the whole index"


@dataclass(frozen=True, slots=True)
class IndexBloat:
    """One index with its estimate; the interval covers the truth in 95 %.

    ``missing`` says what it needs where there is no estimate, ``not_exact`` what it needs to be
    read whole, and ``damage`` why the server refuses to read a page of it or of its table, in its
    words. ``rebuild`` is the statement that gives the bloat back.
    """

    oid: int
    subject: str
    table: str
    method: str
    size_bytes: int
    rebuild: str
    fresh_bytes: int | None = None
    ratio: float | None = None
    low_ratio: float = 0.0
    high_ratio: float = 1.0
    sampled_pages: int = 0
    source: Source = Source.SAMPLE
    missing: str = ""
    not_exact: str = ""
    damage: str = ""

    @property
    def bloat_bytes(self) -> int:
        """What a rebuild would give back."""
        return 0 if self.fresh_bytes is None else max(0, self.size_bytes - self.fresh_bytes)


def diagnose(
    indexes: Sequence[IndexBloat], too_small: int, thresholds: Thresholds, no_exact: str = ""
) -> Report:
    """Turn estimates into findings.

    ``too_small`` indexes were not measured; ``no_exact`` says what the exact mode needs, where it
    was asked for and is not to be had.
    """
    measured = [index for index in indexes if index.ratio is not None]
    bloated = [finding for index in measured for finding in _finding(index, thresholds)]
    wasted_bytes = sum(finding.evidence["bloat_bytes"] for finding in bloated)
    findings = [*bloated, *unmeasured(indexes), *_not_exact(indexes, no_exact)]
    return Report(
        title=TITLE,
        summary=_summary(indexes, measured, bloated, wasted_bytes, thresholds),
        findings=tuple(by_seriousness(findings)),
        tables=(_table(measured),),
        facts={
            "indexes_measured": len(measured),
            "indexes_too_small": too_small,
            "indexes_unmeasured": len(indexes) - len(measured),
            "reclaimable_bytes": wasted_bytes,
        },
        samples=tuple(_samples(measured)),
        bars=_bars(measured),
    )


def _finding(index: IndexBloat, thresholds: Thresholds) -> Iterator[Finding]:
    ratio = index.ratio or 0.0
    if ratio < thresholds.index_bloat_warning_ratio:
        return
    if index.bloat_bytes < thresholds.minimum_bloat_bytes:
        return
    critical = ratio >= thresholds.index_bloat_critical_ratio
    yield Finding(
        code=CODE,
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        subject=index.subject,
        sentence=(
            f"{index.subject} is {percent(ratio)} bloat ({_certainty(index)}): a rebuild would"
            f" give back {bytes_in_words(index.bloat_bytes)} of {bytes_in_words(index.size_bytes)}."
        ),
        evidence={
            "table": index.table,
            "access_method": index.method,
            "size_bytes": index.size_bytes,
            "bloat_bytes": index.bloat_bytes,
            "bloat_ratio": round(ratio, 4),
            "bloat_low_ratio": round(index.low_ratio, 4),
            "bloat_high_ratio": round(index.high_ratio, 4),
            "measured_by": index.source.value,
        },
        advice=(
            "Rebuild it beside the application, at a quiet hour: CONCURRENTLY lets reads and writes"
            " go on, but keeps schema changes and VACUUM off the table, needs free disk for a"
            " second copy, and waits for transactions that are older than itself. Set no"
            " lock_timeout for it: an interrupted rebuild leaves an invalid index behind."
        ),
        commands=(index.rebuild,),
    )


def _certainty(index: IndexBloat) -> str:
    if index.source is Source.WHOLE:
        return "the whole index was read"
    interval = f"between {percent(index.low_ratio)} and {percent(index.high_ratio)}"
    if index.source is Source.SAMPLE:
        return f"{interval} with 95 % confidence, from {counted(index.sampled_pages, 'page')}"
    return f"{interval}, by {index.source.value}"


def unmeasured(indexes: Sequence[IndexBloat]) -> Iterator[Finding]:
    """One finding a reason: a hundred indexes without statistics have one cause.

    Damage is a finding of its own, one a table.
    """
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    tables: defaultdict[str, list[IndexBloat]] = defaultdict(list)
    for index in indexes:
        if index.damage:
            tables[index.table].append(index)
        elif index.ratio is None:
            reasons[index.missing].append(index.subject)
    for table, unread in sorted(tables.items()):
        place = f"A page of {table} or of {listed([index.subject for index in unread])}"
        yield damaged(table, place, unread[0].damage)
    for missing, subjects in sorted(reasons.items()):
        yield unavailable(CODE, listed(subjects), "its bloat", missing)


def _not_exact(indexes: Sequence[IndexBloat], no_exact: str) -> Iterator[Finding]:
    if no_exact:
        yield unavailable(EXACT_CODE, "indexes", "the exact measurement", no_exact)
    reasons: defaultdict[str, list[str]] = defaultdict(list)
    for index in indexes:
        if index.not_exact:
            reasons[index.not_exact].append(index.subject)
    for reason, subjects in sorted(reasons.items()):
        yield unavailable(EXACT_CODE, listed(subjects), "the exact measurement", reason)


def _summary(
    indexes: Sequence[IndexBloat],
    measured: Sequence[IndexBloat],
    bloated: Sequence[Finding],
    wasted_bytes: int,
    thresholds: Thresholds,
) -> str:
    if not indexes:
        return (
            f"No index is larger than {bytes_in_words(thresholds.minimum_bloat_bytes)}:"
            " there is no bloat worth measuring."
        )
    if not measured:
        return (
            f"unavailable: none of {counted(len(indexes), 'index', 'indexes')} could be measured."
        )
    among = counted(len(measured), "index", "indexes")
    unread = sum(bool(index.damage) for index in indexes)
    rest = f" {counted(unread, 'index', 'indexes')} with damaged pages." if unread else ""
    if not bloated:
        return f"No bloat worth a rebuild in {among}.{rest}"
    names = listed([finding.subject for finding in by_seriousness(bloated)], 3)
    verb = "is" if len(bloated) == 1 else "are"
    return (
        f"{len(bloated)} of {among} {verb} bloated ({names});"
        f" rebuilding would give back {bytes_in_words(wasted_bytes)}.{rest}"
    )


def _bars(measured: Sequence[IndexBloat]) -> tuple[BarChart, ...]:
    """Show where the space went: the most bloat first, beside what a new build would take."""
    bloated = [
        Bar(index.subject, (index.size_bytes - index.bloat_bytes, index.bloat_bytes))
        for index in sorted(measured, key=lambda index: -index.bloat_bytes)
        if index.bloat_bytes > 0
    ]
    title = "Size of indexes, most bloat first"
    chart = BarChart.largest(title, "size_bytes", ("needed", "bloat"), bloated, stacked=True)
    return (chart,) if bloated else ()


def _table(measured: Sequence[IndexBloat]) -> Table:
    return Table.of(
        "Indexes by bloat",
        [
            {
                "index": index.subject,
                "table": index.table,
                "access_method": index.method,
                "size_bytes": index.size_bytes,
                "bloat_bytes": index.bloat_bytes,
                "bloat_ratio": round(index.ratio or 0.0, 4),
                "low_ratio": round(index.low_ratio, 4),
                "high_ratio": round(index.high_ratio, 4),
                "sampled_pages": index.sampled_pages,
                "measured_by": index.source.value,
            }
            for index in sorted(measured, key=lambda index: -index.bloat_bytes)
        ],
    )


def _samples(measured: Sequence[IndexBloat]) -> Iterator[Sample]:
    for index in measured:
        yield Sample("index_bloat_bytes", float(index.bloat_bytes), index.subject)
        yield Sample("index_size_bytes", float(index.size_bytes), index.subject)
