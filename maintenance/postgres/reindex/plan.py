"""Which indexes are rebuilt, in which order, and which not and why. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.wording import bytes_in_words, percent, seconds_in_words
from maintenance.postgres.indexes.catalog import IndexState
from maintenance.postgres.inheritance import only
from maintenance.postgres.repair.crew import Step

#: A rebuild has to last: what bloats again within days needs another remedy. GitLab's automatic
#: reindexing leaves an index alone for as long (its documentation, "Automatic reindexing").
REBUILT_AGAIN_AFTER_SECONDS = 10 * 86_400.0

#: An index that the report calls bloated is rebuilt if half of that is sure: of a small one the
#: interval is wide, because the model rounds to whole pages.
SURE_RATIO = 0.5

REINDEX = "reindex"
DROP = "drop leftover"
ANALYZE = "analyze"

_NO_UNDO = ""  # the old index is gone, and nobody would want it back


@dataclass(frozen=True, slots=True)
class IndexFacts:
    """One index from ``sql/reindex_indexes.sql``; names as the server quotes them in statements."""

    oid: int
    table_oid: int
    schema: str
    name: str
    statement_name: str
    table_name: str
    qualified_name: str
    method: str
    catalog_size_bytes: int
    is_catalog: bool
    is_toast: bool
    is_temporary: bool
    is_partitioned: bool
    is_exclusion: bool
    is_usable: bool
    has_expressions: bool
    is_partial: bool
    may_rebuild: bool


@dataclass(frozen=True, slots=True)
class Candidate:
    """An index that is bloated, or that somebody named.

    Bloat is ``None`` where it could not be measured; ``bloat_low_ratio`` is the lower end of its
    interval. ``rebuilt_seconds_ago`` is when a run of ours rebuilt it, ``bytes_per_second`` how fast
    such an index comes into being here, both ``None`` where nobody knows.
    """

    facts: IndexFacts
    size_bytes: int
    fresh_bytes: int | None = None
    bloat_ratio: float | None = None
    bloat_low_ratio: float = 0.0
    is_named: bool = False
    collation_changed: bool = False
    rebuilt_seconds_ago: float | None = None
    bytes_per_second: float | None = None

    @property
    def gain_bytes(self) -> int | None:
        """What the rebuild is expected to give back."""
        return None if self.fresh_bytes is None else max(0, self.size_bytes - self.fresh_bytes)

    @property
    def largest_fresh_bytes(self) -> int:
        """How large the new index may become at the most, which the disk has to hold."""
        return round(self.size_bytes * (1 - self.bloat_low_ratio))

    @property
    def seconds(self) -> float | None:
        """How long the rebuild is expected to take."""
        if self.bytes_per_second is None:
            return None
        return (self.fresh_bytes or self.size_bytes) / self.bytes_per_second


@dataclass(frozen=True, slots=True)
class Rules:
    """When an index is bloated enough. ``excluded_schemas`` are never touched.

    ``server_major`` says how the server understands ANALYZE.
    """

    minimum_bloat_ratio: float
    minimum_bloat_bytes: int
    server_major: int
    excluded_schemas: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class ReindexStep(Step):
    """A step on ``index``; ``leftover`` is the index that a step of kind ``drop leftover`` drops.

    ``disk_bytes`` is what a rebuild needs while it is at work.
    """

    index: IndexFacts | None = None
    leftover: IndexState | None = None
    disk_bytes: int = 0

    @property
    def key(self) -> str:
        """Leftovers of the same name follow one another: each is a step of its own."""
        number = f" {self.leftover.oid}" if self.leftover else ""
        return f"{self.action.kind} {self.action.subject}{number}"


@dataclass(frozen=True, slots=True)
class ReindexPlan:
    """The steps in their order, and what was not planned as outcomes with the reason.

    ``without_rights`` are indexes that would be rebuilt if the role might.
    """

    steps: tuple[ReindexStep, ...]
    refused: tuple[Outcome, ...] = ()
    without_rights: tuple[str, ...] = ()
    candidates: tuple[Candidate, ...] = ()

    @property
    def rebuilds(self) -> tuple[ReindexStep, ...]:
        """The steps that rebuild an index."""
        return tuple(step for step in self.steps if step.index is not None)


def plan_reindex(
    candidates: Sequence[Candidate],
    leftovers: Sequence[tuple[IndexState, str]],
    rules: Rules,
    *,
    jobs: int = 1,
    analyze_due: Mapping[int, str] | None = None,
) -> ReindexPlan:
    """Choose the rebuilds, most bytes gained first, between leftovers and statistics.

    ``leftovers`` come with the statement that drops each; ``analyze_due`` are tables, by oid, whose
    indexes on expressions were rebuilt before and whose statistics are still to come.
    """
    worth = [c for c in candidates if c.is_named or _is_bloated(c, rules)]
    refused: list[Outcome] = []
    without_rights: list[str] = []
    chosen: list[Candidate] = []
    for candidate in sorted(worth, key=_order):
        reason = refusal_of(candidate, rules)
        if reason:
            refused.append(Outcome(_rebuild(candidate), Verdict.REFUSED, reason))
        elif not candidate.facts.may_rebuild:
            without_rights.append(candidate.facts.qualified_name)
        else:
            chosen.append(candidate)
    rebuilds = list(_staged(chosen, jobs))
    last = 1 + max((step.stage for step in rebuilds), default=0)
    tables = dict(analyze_due or {}) | {
        c.facts.table_oid: c.facts.table_name for c in chosen if c.facts.has_expressions
    }
    steps = (
        *(_drop(leftover, statement) for leftover, statement in leftovers),
        *rebuilds,
        *(_analyze(oid, name, last, rules) for oid, name in tables.items()),
    )
    return ReindexPlan(steps, tuple(refused), tuple(without_rights), tuple(candidates))


def _is_bloated(candidate: Candidate, rules: Rules) -> bool:
    """Tell whether a rebuild gains enough, and surely something: its cost is certain."""
    if candidate.bloat_ratio is None or candidate.gain_bytes is None:
        return False
    return (
        candidate.bloat_ratio >= rules.minimum_bloat_ratio
        and candidate.bloat_low_ratio >= rules.minimum_bloat_ratio * SURE_RATIO
        and candidate.gain_bytes >= rules.minimum_bloat_bytes
    )


def _order(candidate: Candidate) -> tuple[int, str]:
    return -(candidate.gain_bytes or 0), candidate.facts.qualified_name


def refusal_of(candidate: Candidate, rules: Rules) -> str:
    """Return why an index is not rebuilt, whatever its bloat; empty where it may be."""
    return next((reason for applies, reason in _refusals(candidate, rules) if applies), "")


def _refusals(candidate: Candidate, rules: Rules) -> Iterator[tuple[bool, str]]:
    facts = candidate.facts
    yield facts.is_catalog, "it belongs to a system catalog, which cannot be rebuilt concurrently"
    yield (
        facts.schema in rules.excluded_schemas,
        f'its schema "{facts.schema}" is excluded by exclude_schemas of this target',
    )
    yield facts.is_temporary, "it is temporary: it belongs to the session that made it"
    yield (
        facts.is_partitioned,
        "it is the index of a partitioned table: name the indexes of its partitions",
    )
    yield (
        not facts.is_usable,
        (
            "it is invalid: rebuilding a leftover would make a second valid index of the same kind."
            " check_data_integrity says how it became so and what to do"
        ),
    )
    yield (
        facts.is_exclusion,
        "it stands behind an exclusion constraint, which cannot be rebuilt concurrently",
    )
    yield facts.is_toast, "it is the index of a TOAST table, whose bloat is not measured"
    ago = candidate.rebuilt_seconds_ago
    if ago is not None and not candidate.is_named:
        yield (
            ago < REBUILT_AGAIN_AFTER_SECONDS,
            (
                f"it was rebuilt {seconds_in_words(ago)} ago, and is not again within"
                f" {seconds_in_words(REBUILT_AGAIN_AFTER_SECONDS)} unless it is named: look for"
                " what bloats it so soon"
            ),
        )


def _staged(chosen: Sequence[Candidate], jobs: int) -> Iterator[ReindexStep]:
    """Yield the rebuilds, each with the stage in which it may run.

    Two rebuilds wait for one another's snapshots, and end in a deadlock, where one of the indexes
    has an expression or a predicate (src/backend/commands/indexcmds.c, "set_indexsafe_procflags"):
    these are alone in their stage where several run at once.
    """
    stage = 1
    for candidate in chosen:
        alone = jobs > 1 and (candidate.facts.has_expressions or candidate.facts.is_partial)
        if alone:
            stage += 1
        yield ReindexStep(
            _rebuild(candidate),
            candidate.facts.table_oid,
            stage,
            candidate.seconds,
            index=candidate.facts,
            disk_bytes=_disk_bytes(candidate),
        )
        if alone:
            stage += 1


def _rebuild(candidate: Candidate) -> Action:
    facts = candidate.facts
    return Action(
        kind=REINDEX,
        subject=facts.qualified_name,
        statement=f"REINDEX INDEX CONCURRENTLY {facts.statement_name}",
        reason=_reason(candidate),
        predicted={
            "size_bytes": candidate.size_bytes,
            "gain_bytes": candidate.gain_bytes,
            "disk_bytes": _disk_bytes(candidate),
            "seconds": None if candidate.seconds is None else round(candidate.seconds, 1),
            "locks": (
                f"SHARE UPDATE EXCLUSIVE on {facts.table_name}: reads and writes go on, schema"
                " changes and VACUUM wait"
            ),
        },
        undo=_NO_UNDO,
    )


def _disk_bytes(candidate: Candidate) -> int:
    """The new index stands beside the old one, and is written to WAL once more."""
    return 2 * candidate.largest_fresh_bytes


def _reason(candidate: Candidate) -> str:
    parts = []
    if candidate.bloat_ratio is None:
        parts.append("its bloat could not be measured")
    else:
        parts.append(
            f"{percent(candidate.bloat_ratio)} of {bytes_in_words(candidate.size_bytes)} is bloat"
            f" (at least {percent(candidate.bloat_low_ratio)})"
        )
    if candidate.is_named:
        parts.append("it was named")
    if candidate.collation_changed:
        parts.append("its collation sorts by other rules now than when it was built")
    return "; ".join(parts)


def _drop(leftover: IndexState, statement: str) -> ReindexStep:
    return ReindexStep(
        Action(
            kind=DROP,
            subject=leftover.qualified_name,
            statement=statement,
            reason="an interrupted rebuild left it, and the index that it was a copy of is valid",
            predicted={
                "size_bytes": leftover.size_bytes,
                "gain_bytes": leftover.size_bytes,
                "locks": f"SHARE UPDATE EXCLUSIVE on {leftover.table_name}",
            },
        ),
        leftover.table_oid,
        leftover=leftover,
    )


def _analyze(table_oid: int, table_name: str, stage: int, rules: Rules) -> ReindexStep:
    return ReindexStep(
        Action(
            kind=ANALYZE,
            subject=table_name,
            statement=f"ANALYZE {only(rules.server_major)}{table_name}",
            reason="statistics of expressions belong to their index, and that is a new one",
            predicted={"locks": f"SHARE UPDATE EXCLUSIVE on {table_name}"},
        ),
        table_oid,
        stage,
    )


def with_speeds(
    candidates: Sequence[Candidate], speeds: Mapping[str, float]
) -> tuple[Candidate, ...]:
    """Return the candidates with how fast each is expected to be built.

    ``speeds`` are bytes of the new index a second, from the last rebuild of each: its own, or the
    median of all.
    """
    usual = median(speeds.values()) if speeds else None
    return tuple(
        replace(c, bytes_per_second=speeds.get(c.facts.qualified_name, usual)) for c in candidates
    )


def facts_of(row: Mapping[str, Any]) -> IndexFacts:
    """Build from a row of ``sql/reindex_indexes.sql``."""
    return IndexFacts(**row)
