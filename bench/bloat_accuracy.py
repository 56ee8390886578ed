"""How far estimates of bloat are from what VACUUM FULL then gives back, ours beside the peers'.

The truth of a relation is the share of ``pg_relation_size`` that is gone after ``VACUUM FULL``,
which rewrites a table, its TOAST table and every index of it. An error is the absolute difference
between an estimate and that truth in percentage points; wasted bytes that a peer prints are
divided by the relation's size before. Ours is run once a seed, and every run counts.

One set of tables is fixed; the other is drawn from a seed that is the commit's hash, so that
nothing can be tuned to it.
"""

import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.bloat_peers import BY_URL, NotInstalled, Wasted, pgstattuple
from bench.bloat_shapes import FIXED, Shape, seeded
from bench.server import Run, postgres_server, session
from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.postgres.bloat.indexes import report_index_bloat
from maintenance.postgres.bloat.options import IndexBloatOptions, TableBloatOptions
from maintenance.postgres.bloat.tables import report_table_bloat

ROOT = Path(__file__).resolve().parent.parent

SEEDS = 20
#: Of indexes fewer runs do: what is drawn by chance matters less than the model.
INDEX_SEEDS = 5
SEEDED_TABLES = 16
MEAN_LIMIT_POINTS = 1.0
LARGEST_LIMIT_POINTS = 6.0
COVERAGE_LIMIT_PERCENT = 90.0
#: Smaller relations are a few pages, of which one more or less is whole points.
MINIMUM_BYTES = 512 * 1024

#: The relations with their sizes: tables, btrees, and TOAST tables by the name of their table.
_SIZES = """
SELECT c.relname, c.relkind::text, pg_relation_size(c.oid),
       pg_relation_size(nullif(c.reltoastrelid, 0))
FROM pg_class AS c
WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'i')
"""


@dataclass(frozen=True, slots=True)
class Estimate:
    """Ours of one run: the share that is bloat, with its interval where there is one."""

    ratio: float
    low_ratio: float | None = None
    high_ratio: float | None = None


@dataclass(slots=True)
class Relation:
    """One table or btree: its truth and what each tool said of it. Ratios are 0 to 1."""

    kind: str  # "table" or "btree"
    name: str
    size_bytes: int
    ours: list[Estimate] = field(default_factory=list)
    peers: dict[str, float] = field(default_factory=dict)
    truth_ratio: float = 0.0

    @property
    def errors_points(self) -> list[float]:
        """The errors of ours, one a run."""
        return [abs(e.ratio - self.truth_ratio) * 100 for e in self.ours]

    @property
    def covered(self) -> list[bool]:
        """Whether the interval holds the truth, one a run that has an interval."""
        return [
            e.low_ratio <= self.truth_ratio <= e.high_ratio
            for e in self.ours
            if e.low_ratio is not None and e.high_ratio is not None
        ]


def rows() -> list[dict[str, Any]]:
    """Return one row a figure: name, value, unit, limit, met, peer, raw."""
    seed = commit_hash()
    print(f"bloat-accuracy: the drawn tables are those of seed {seed}")
    with postgres_server(autovacuum="off") as server:
        fixed, absent = _measure(server, "fixed", FIXED)
        drawn, _absent = _measure(server, "drawn", seeded(seed, SEEDED_TABLES))
    return [
        *_rows_of("fixed", fixed, absent),
        *_rows_of(f"drawn from {seed[:12]}", drawn, absent),
    ]


def commit_hash() -> str:
    """Return the hash of the commit that is measured."""
    command = ["git", "rev-parse", "HEAD"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.stdout.strip() or "no commit"


def _measure(
    server: Any, database: str, shapes: Sequence[Shape]
) -> tuple[list[Relation], dict[str, str]]:
    """Return every relation with all that is said of it, and how absent peers are installed."""
    server.ensure_database(database)
    url = server.url(database)
    with session(url) as run:
        for shape in shapes:
            _build(run, shape)
    with session(url) as run:
        relations = relations_of(run(_SIZES))
        for seed in range(SEEDS):
            _ask_ours(url, relations, seed)
        absent = _ask_peers(run, url, relations)
        for shape in shapes:
            run(f"VACUUM FULL {shape.name}")
        fresh = {(r.kind, r.name): r.size_bytes for r in relations_of(run(_SIZES), 0)}
    for relation in relations:
        relation.truth_ratio = 1 - fresh[relation.kind, relation.name] / relation.size_bytes
    return relations, absent


def _build(run: Run, shape: Shape) -> None:
    run("SELECT setseed(0.42)")
    for statement in shape.statements():
        run(statement)
        # Or the server counts what a VACUUM removes before it has counted what died.
        run("SELECT pg_stat_force_next_flush()")


def relations_of(
    sizes: Sequence[tuple[Any, ...]], minimum_bytes: int = MINIMUM_BYTES
) -> list[Relation]:
    """Return the relations that are large enough, by the rows of ``_SIZES``."""
    found: list[Relation] = []
    for name, kind, size_bytes, toast_bytes in sizes:
        found.append(Relation("table" if kind == "r" else "btree", name, size_bytes))
        if toast_bytes:
            found.append(Relation("table", f"TOAST table of {name}", toast_bytes))
    return [r for r in found if r.size_bytes >= max(1, minimum_bytes)]


def _ask_ours(url: str, relations: Sequence[Relation], seed: int) -> None:
    target = DatabaseTarget(url=url)
    limits = Thresholds(minimum_bloat_bytes=MINIMUM_BYTES)
    tables = report_table_bloat(Job("bench", target, TableBloatOptions(seed=seed)), limits)
    found = {("table", name): e for name, e in estimates(tables, "table").items()}
    if seed < INDEX_SEEDS:
        indexes = report_index_bloat(Job("bench", target, IndexBloatOptions(seed=seed)), limits)
        found |= {
            ("btree", name.rpartition(".")[2]): e for name, e in estimates(indexes, "index").items()
        }
    for relation in relations:
        estimate = found.get((relation.kind, relation.name))
        if estimate is not None:
            relation.ours.append(estimate)


def estimates(report: Report, column: str) -> dict[str, Estimate]:
    """Return the estimates of a bloat report by the relations' names without schema."""
    found: dict[str, Estimate] = {}
    for table in report.tables:
        if column not in table.columns or "bloat_ratio" not in table.columns:
            continue
        for values in table.rows:
            row = dict(zip(table.columns, values, strict=True))
            found[str(row[column]).replace("public.", "")] = Estimate(
                row["bloat_ratio"], row.get("low_ratio"), row.get("high_ratio")
            )
    return found


def _ask_peers(run: Run, url: str, relations: Sequence[Relation]) -> dict[str, str]:
    absent: dict[str, str] = {}
    asked: dict[str, Any] = {name: lambda ask=ask: ask(url) for name, ask in BY_URL.items()}
    asked["pgstattuple"] = lambda: pgstattuple(run)
    for name, ask in asked.items():
        try:
            note_peer(relations, name, ask())
        except NotInstalled as error:
            absent[name] = str(error)
    return absent


def note_peer(relations: Sequence[Relation], peer: str, wasted: Wasted) -> None:
    """Note what a peer says of each relation; TOAST tables are named by none of them."""
    for relation in relations:
        if not relation.name.startswith("TOAST"):
            relation.peers[peer] = wasted.get(relation.name, 0.0) / relation.size_bytes


def _rows_of(
    which: str, relations: Sequence[Relation], absent: Mapping[str, str]
) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    for kind in ("table", "btree"):
        chosen = [r for r in relations if r.kind == kind]
        errors = [error for r in chosen for error in r.errors_points]
        name = f"error of {kind} bloat, {which}: {len(chosen)} {kind}s"
        unmeasured = [r.name for r in chosen if not r.ours]
        worst = max(chosen, key=lambda r: max(r.errors_points, default=0.0)).name
        for figure, value, limit, note in (
            ("mean", statistics.mean(errors), MEAN_LIMIT_POINTS, ""),
            ("largest", max(errors), LARGEST_LIMIT_POINTS, f" (of {worst})"),
        ):
            found.append(
                {
                    "name": f"{figure} {name}",
                    "value": value,
                    "unit": "points",
                    "peer": f"ours {value:.1f}{note}, {peers_in_words(chosen, figure, absent)}",
                    "limit": f"at most {limit:g}",
                    "met": value <= limit and not unmeasured,
                    "raw": {"not_measured": unmeasured}
                    | ({r.name: _raw(r) for r in chosen} if figure == "mean" else {}),
                }
            )
    tables = [r for r in relations if r.kind == "table"]
    return [*found, _coverage_row(which, tables)]


def peers_in_words(relations: Sequence[Relation], figure: str, absent: Mapping[str, str]) -> str:
    """Return each peer's mean or largest error over the relations it can name."""
    said: list[str] = []
    for peer in (*BY_URL, "pgstattuple"):
        if peer in absent:
            said.append(f"{peer} not installed: {absent[peer]}")
            continue
        errors = [abs(r.peers[peer] - r.truth_ratio) * 100 for r in relations if peer in r.peers]
        if errors:
            value = statistics.mean(errors) if figure == "mean" else max(errors)
            said.append(f"{peer} {value:.1f}")
    return ", ".join(said)


def _coverage_row(which: str, relations: Sequence[Relation]) -> dict[str, Any]:
    covered = [held for relation in relations for held in relation.covered]
    percent = 100 * sum(covered) / len(covered) if covered else 0.0
    rarely = [r.name for r in relations if r.covered and sum(r.covered) < 0.9 * len(r.covered)]
    return {
        "name": f"truths within the 95 % interval of table bloat, {which}: {SEEDS} samples a table",
        "value": percent,
        "unit": "%",
        "peer": f"less often than nine times in ten: {', '.join(rarely)}" if rarely else "",
        "limit": f"at least {COVERAGE_LIMIT_PERCENT:g}",
        "met": percent >= COVERAGE_LIMIT_PERCENT,
        "raw": {r.name: sum(r.covered) for r in relations if r.covered},
    }


def _raw(relation: Relation) -> dict[str, Any]:
    return {
        "size_bytes": relation.size_bytes,
        "truth_ratio": round(relation.truth_ratio, 4),
        "ours_ratio": [e.ratio for e in relation.ours],
        "interval": [[e.low_ratio, e.high_ratio] for e in relation.ours if e.low_ratio is not None],
        "peers_ratio": {peer: round(ratio, 4) for peer, ratio in relation.peers.items()},
    }
