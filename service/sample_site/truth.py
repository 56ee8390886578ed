"""The truth about a sample site: what is planted in it, and what only looks like a fault.

`Truth.write` and `Truth.read` keep it as JSON, so that tests and people can compare what the
reports found with what is there. Numbers under `expected` follow from the seed and the scale;
numbers under `observed` (times, query identifiers) differ from build to build and take no part
in comparisons.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final, Self

from service.sample_site.errors import SampleSiteError

SCHEMA_VERSION: Final = 1

LATER: Final = "later"
"""`Fault.analysed_by` of a fault whose analysis no task of this release does."""

Number = int | float | str | bool


class FaultKind(StrEnum):
    """What can be wrong with a site."""

    DEAD_TUPLES = "dead_tuples"
    UNVACUUMED_INSERTS = "unvacuumed_inserts"
    STALE_STATISTICS = "stale_statistics"
    AUTOVACUUM_DISABLED = "autovacuum_disabled"
    BLOATED_TABLE = "bloated_table"
    BLOATED_INDEX = "bloated_index"
    UNUSED_INDEX = "unused_index"
    DUPLICATE_INDEX = "duplicate_index"
    REDUNDANT_INDEX = "redundant_index"
    INVALID_INDEX = "invalid_index"
    MISSING_FK_INDEX = "missing_fk_index"
    SEQUENCE_NEAR_END = "sequence_near_end"
    NOT_VALIDATED_CONSTRAINT = "not_validated_constraint"
    ORPHANED_ROW = "orphaned_row"
    SLOW_QUERY = "slow_query"
    OVER_LENGTH_STREAM = "over_length_stream"
    ABANDONED_STREAM = "abandoned_stream"
    COLD_CACHE_KEY = "cold_cache_key"
    STALE_CACHE_KEY = "stale_cache_key"
    LOW_CACHE_HIT_RATIO = "low_cache_hit_ratio"
    QUEUE_TOO_DEEP = "queue_too_deep"
    ERROR_BURST = "error_burst"
    SLOW_ROUTE = "slow_route"
    MISCONFIGURED_SERVER = "misconfigured_server"
    SLOW_UNDER_LOAD = "slow_under_load"
    DISK_FILLS_UP = "disk_fills_up"
    CONNECTIONS_RUN_OUT = "connections_run_out"
    TOO_FEW_WORKERS = "too_few_workers"
    LOOSE_TARGET = "loose_target"
    OVERSIZED_IMAGE = "oversized_image"
    HARMFUL_IMAGE = "harmful_image"
    ORPHANED_FILE = "orphaned_file"
    REPEATED_QUERY = "repeated_query"
    CARELESS_STATIC_FILES = "careless_static_files"
    LOST_SLOT = "lost_slot"


ANALYSED_BY: Final[Mapping[FaultKind, str]] = {
    FaultKind.DEAD_TUPLES: "vacuum_analyze",
    FaultKind.UNVACUUMED_INSERTS: "vacuum_analyze",
    FaultKind.STALE_STATISTICS: "vacuum_analyze",
    FaultKind.AUTOVACUUM_DISABLED: "review_vacuum_health",
    FaultKind.BLOATED_TABLE: "report_table_bloat",
    FaultKind.BLOATED_INDEX: "report_index_bloat",
    FaultKind.UNUSED_INDEX: "report_unused_indexes",
    FaultKind.DUPLICATE_INDEX: "report_redundant_indexes",
    FaultKind.REDUNDANT_INDEX: "report_redundant_indexes",
    FaultKind.MISSING_FK_INDEX: "report_missing_indexes",
    FaultKind.SLOW_QUERY: "review_slow_queries",
    FaultKind.OVER_LENGTH_STREAM: "trim_streams",
    FaultKind.ABANDONED_STREAM: "remove_abandoned_streams",
    FaultKind.COLD_CACHE_KEY: "warm_caches",
    FaultKind.STALE_CACHE_KEY: "invalidate_caches",
    FaultKind.LOW_CACHE_HIT_RATIO: "review_cache_hit_ratios",
    FaultKind.QUEUE_TOO_DEEP: "check_queue_depths",
    FaultKind.ERROR_BURST: "review_error_rates",
    FaultKind.SLOW_ROUTE: "review_error_rates",
    FaultKind.MISCONFIGURED_SERVER: "review_server_configuration",
    FaultKind.SLOW_UNDER_LOAD: "run_load_test",
    FaultKind.DISK_FILLS_UP: "review_capacity",
    FaultKind.CONNECTIONS_RUN_OUT: "review_capacity",
    FaultKind.TOO_FEW_WORKERS: "assess_scaling",
    FaultKind.LOOSE_TARGET: "review_performance_targets",
    FaultKind.OVERSIZED_IMAGE: "optimize_images",
    FaultKind.HARMFUL_IMAGE: "optimize_images",
    FaultKind.ORPHANED_FILE: "report_orphaned_media",
    FaultKind.REPEATED_QUERY: "review_n_plus_one",
    FaultKind.CARELESS_STATIC_FILES: "review_static_files",
    FaultKind.LOST_SLOT: "prove_slots",
    FaultKind.INVALID_INDEX: "check_data_integrity",
    FaultKind.NOT_VALIDATED_CONSTRAINT: "check_data_integrity",
    FaultKind.ORPHANED_ROW: "check_data_integrity",
    FaultKind.SEQUENCE_NEAR_END: "review_database_growth",
}
"""The task that must name a fault of this kind; kinds that are missing here are for later."""


@dataclass(frozen=True)
class Fault:
    """One planted fault.

    `subject` is what a report must name: `public.table`, `public.table.index`,
    `public.table.column`, a Redis key, a key pattern, a route, a file, a line of code, or the code of
    a finding where the thing has no name of its own. Sizes are bytes, ratios 0 to 1.
    """

    kind: FaultKind
    subject: str
    why: str
    expected: Mapping[str, Number] = field(default_factory=dict)
    observed: Mapping[str, Number] = field(default_factory=dict, compare=False)

    @property
    def analysed_by(self) -> str:
        return ANALYSED_BY.get(self.kind, LATER)


@dataclass(frozen=True)
class Decoy:
    """Something healthy that a careless analysis would report as a fault of this kind."""

    kind: FaultKind
    subject: str
    why: str


@dataclass(frozen=True)
class RelationSize:
    """A table or btree index as it lies on disk, and a fresh copy of it with the same rows.

    For a table `packed_bytes` is the main fork of a copy made by CREATE TABLE AS; for an index,
    the same definition built over that copy. Both keep the fill factor of the original.
    """

    subject: str
    size_bytes: int
    packed_bytes: int

    @property
    def bloat_ratio(self) -> float:
        return max(0.0, 1 - self.packed_bytes / self.size_bytes) if self.size_bytes else 0.0


@dataclass(frozen=True)
class Truth:
    """Everything that is planted in one built site.

    `unavailable` names the kinds that this server could not carry, each with the reason.
    """

    seed: int
    scale: float
    as_of: str
    faults: tuple[Fault, ...]
    decoys: tuple[Decoy, ...]
    relations: tuple[RelationSize, ...]
    unavailable: Mapping[str, str] = field(default_factory=dict)
    observed: Mapping[str, Number] = field(default_factory=dict, compare=False)

    def of_kind(self, kind: FaultKind) -> tuple[Fault, ...]:
        return tuple(fault for fault in self.faults if fault.kind is kind)

    def decoys_of_kind(self, kind: FaultKind) -> tuple[Decoy, ...]:
        return tuple(decoy for decoy in self.decoys if decoy.kind is kind)

    def to_json(self) -> str:
        document: dict[str, Any] = {"schema_version": SCHEMA_VERSION, **asdict(self)}
        for written, fault in zip(document["faults"], self.faults, strict=True):
            written["analysed_by"] = fault.analysed_by
        for written, relation in zip(document["relations"], self.relations, strict=True):
            written["bloat_ratio"] = round(relation.bloat_ratio, 4)
        return json.dumps(document, indent=1, ensure_ascii=False) + "\n"

    def write(self, path: Path) -> None:
        path.write_text(self.to_json(), encoding="utf-8")

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Raise SampleSiteError where the text is no truth of this schema version."""
        document = json.loads(text)
        version = document.get("schema_version")
        if version != SCHEMA_VERSION:
            raise SampleSiteError(
                f"This truth file has schema version {version}, this release reads {SCHEMA_VERSION}: "
                "build the sample site again."
            )
        return cls(
            seed=document["seed"],
            scale=document["scale"],
            as_of=document["as_of"],
            faults=tuple(
                Fault(FaultKind(f["kind"]), f["subject"], f["why"], f["expected"], f["observed"])
                for f in document["faults"]
            ),
            decoys=tuple(
                Decoy(FaultKind(d["kind"]), d["subject"], d["why"]) for d in document["decoys"]
            ),
            relations=tuple(
                RelationSize(r["subject"], r["size_bytes"], r["packed_bytes"])
                for r in document["relations"]
            ),
            unavailable=document["unavailable"],
            observed=document["observed"],
        )

    @classmethod
    def read(cls, path: Path) -> Self:
        return cls.from_json(path.read_text(encoding="utf-8"))
