"""The sample site's unused indexes and slow search are named, and what only looks like them is not."""

import secrets
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from maintenance.conf import DatabaseTarget, parse_configuration
from maintenance.core.findings import Severity
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.postgres.capacity.review import review_database_growth
from maintenance.postgres.indexes.missing import report_missing_indexes
from maintenance.postgres.indexes.options import (
    MissingIndexOptions,
    RedundantIndexOptions,
    UnusedIndexOptions,
)
from maintenance.postgres.indexes.redundant import report_redundant_indexes
from maintenance.postgres.indexes.unused import report_unused_indexes
from maintenance.postgres.indexes.usage import report_index_usage
from maintenance.postgres.queries.review import review_slow_queries
from maintenance.postgres.queries.rules import SlowQueryOptions
from maintenance.postgres.reindex.options import ReindexOptions
from maintenance.postgres.reindex.run import reindex_bloated_indexes
from maintenance.postgres.vacuum.health import review_vacuum_health
from maintenance.postgres.vacuum.options import VacuumOptions
from maintenance.postgres.vacuum.run import vacuum_analyze
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.valkey import EmbeddedValkey
from service.sample_site import Truth, build
from service.sample_site.truth import FaultKind
from tests.postgres_clients import ask

# Its builder flushes counters by pg_stat_force_next_flush(), which is new in 15.
pytestmark = pytest.mark.since_postgres(15)

ROOT = Path(__file__).resolve().parents[2]
CONFIGURATION = parse_configuration(
    tomllib.loads((ROOT / "service/sample_site/maintenance.toml").read_text())
)

INDEX_SIZES = """
SELECT n.nspname || '.' || t.relname || '.' || c.relname, pg_relation_size(c.oid)
FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid JOIN pg_class AS t ON t.oid = indrelid
JOIN pg_namespace AS n ON n.oid = t.relnamespace WHERE n.nspname = 'public'
"""


#: Heaps and TOAST tables, as far as they are the site's.
TABLE_BYTES = """
SELECT sum(pg_relation_size(c.oid) + coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0))::bigint
FROM pg_class AS c JOIN pg_namespace AS n ON n.oid = c.relnamespace
WHERE c.relkind IN ('r', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema')
"""


@dataclass(frozen=True)
class Site:
    """A built site and what is planted in it."""

    target: DatabaseTarget
    truth: Truth

    def subjects(self, kind: FaultKind) -> set[str]:
        return {fault.subject for fault in self.truth.of_kind(kind)}

    def decoys(self, kind: FaultKind) -> set[str]:
        return {decoy.subject for decoy in self.truth.decoys_of_kind(kind)}


@pytest.fixture(scope="module")
def site(postgres_server: EmbeddedPostgres, server_root: Path) -> Iterator[Site]:
    name = f"sample_site_{secrets.token_hex(6)}"
    postgres_server.ensure_database(name)
    url = postgres_server.url(name)
    # A Valkey of its own: the tests beside this one empty the session's.
    with EmbeddedValkey(
        server_root / "sample-site-findings", secrets.token_hex(16), settings={"appendonly": "no"}
    ) as valkey:
        truth = build(url, valkey.url(0), scale=0.05, seed=20)
    yield Site(DatabaseTarget(url=url), truth)
    ask(postgres_server.url(), f"DROP DATABASE {name} (FORCE)")


def test_every_planted_unused_index_is_a_candidate_and_no_decoy_is(site: Site) -> None:
    job = Job("site", site.target, UnusedIndexOptions())
    report = report_unused_indexes(job, CONFIGURATION.thresholds)
    named = {finding.subject for finding in report.findings}
    assert named == site.subjects(FaultKind.UNUSED_INDEX)
    assert not named & site.decoys(FaultKind.UNUSED_INDEX)
    assert {finding.severity for finding in report.findings} == {Severity.INFO}


def test_each_decoy_is_listed_with_the_reason_why_it_is_kept(site: Site) -> None:
    job = Job("site", site.target, UnusedIndexOptions(minimum_bytes=0))
    (table,) = report_unused_indexes(job, CONFIGURATION.thresholds).tables
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    kept = {row["index"] for row in rows if row["verdict"].startswith("kept: ")}
    assert site.decoys(FaultKind.UNUSED_INDEX) <= kept


def test_the_invalid_index_is_named(site: Site) -> None:
    report = report_index_usage(Job("site", site.target, NoOptions()), CONFIGURATION.thresholds)
    assert {f.subject for f in report.findings} == site.subjects(FaultKind.INVALID_INDEX)


def test_the_slow_search_is_named_and_the_frequent_fast_query_is_not(site: Site) -> None:
    (fault,) = site.truth.of_kind(FaultKind.SLOW_QUERY)
    # At a twentieth of the size the search is quicker than the configured 100 ms.
    minimum_mean_ms = float(fault.observed["mean_exec_time_ms"]) / 2
    job = Job("site", site.target, SlowQueryOptions(minimum_mean_ms=minimum_mean_ms, limit=1000))
    report = review_slow_queries(job, CONFIGURATION.thresholds)
    (finding,) = (f for f in report.findings if fault.subject in f.sentence)
    assert finding.subject == f"query {fault.observed['query_id']}"
    assert fault.subject in finding.evidence["query"]
    assert finding.evidence["calls"] >= int(fault.expected["calls_at_least"])
    for decoy in site.decoys(FaultKind.SLOW_QUERY):
        assert not [f for f in report.findings if decoy in f.evidence.get("query", "")]


def test_the_foreign_key_without_an_index_is_named_and_no_other(site: Site) -> None:
    job = Job("site", site.target, MissingIndexOptions(minimum_bytes=0))
    report = report_missing_indexes(job, CONFIGURATION.thresholds)
    assert {f.subject for f in report.findings} == site.subjects(FaultKind.MISSING_FK_INDEX)


def test_every_table_without_autovacuum_is_named_and_no_other(site: Site) -> None:
    report = review_vacuum_health(Job("site", site.target, NoOptions()), CONFIGURATION.thresholds)
    named = {f.subject for f in report.findings if f.code == "autovacuum-disabled"}
    assert named == site.subjects(FaultKind.AUTOVACUUM_DISABLED)


def test_duplicate_and_redundant_indexes_are_named_and_no_decoy(site: Site) -> None:
    job = Job("site", site.target, RedundantIndexOptions(minimum_bytes=0))
    report = report_redundant_indexes(job, CONFIGURATION.thresholds)
    by_code = {
        code: {f.subject for f in report.findings if f.code == code}
        for code in ("duplicate-index", "redundant-index")
    }
    assert by_code["duplicate-index"] == site.subjects(FaultKind.DUPLICATE_INDEX)
    assert by_code["redundant-index"] == site.subjects(FaultKind.REDUNDANT_INDEX)
    for fault in site.truth.of_kind(FaultKind.REDUNDANT_INDEX):
        (finding,) = (f for f in report.findings if f.subject == fault.subject)
        assert finding.evidence["covered_by"] == fault.expected["covered_by"]


def test_the_sequence_near_its_end_is_named_and_no_other_sequence_or_key(site: Site) -> None:
    job = Job("site", site.target, NoOptions())
    report = review_database_growth(job, CONFIGURATION.thresholds)
    warned = {f.subject for f in report.findings if f.severity.rank > Severity.INFO.rank}
    assert warned == site.subjects(FaultKind.SEQUENCE_NEAR_END)
    assert not {f.subject for f in report.findings} & site.decoys(FaultKind.SEQUENCE_NEAR_END)


def test_every_bloated_index_ends_as_small_as_a_fresh_one(site: Site) -> None:
    def sizes() -> dict[str, int]:
        return dict(ask(site.target.connection_parameters()["dsn"], INDEX_SIZES))

    before = sizes()
    fresh = {relation.subject: relation.packed_bytes for relation in site.truth.relations}
    # At this scale a page more or less of the smallest is seven points of its bloat.
    options = ReindexOptions(seed=3, minimum_bloat_ratio=0.2)
    job = Job("site", site.target, options)

    report = reindex_bloated_indexes(job, CONFIGURATION.thresholds)

    after = sizes()
    for subject in site.subjects(FaultKind.BLOATED_INDEX):
        assert after[subject] == pytest.approx(fresh[subject], rel=0.05), subject
    for subject in site.decoys(FaultKind.BLOATED_INDEX):
        assert after[subject] == before[subject], subject
    (table,) = report.tables
    rows = [dict(zip(table.columns, row, strict=True)) for row in table.rows]
    told = {r["index"]: (r["size_bytes"], r["after_bytes"]) for r in rows if r["gained_bytes"]}
    assert told.keys() >= site.subjects(FaultKind.BLOATED_INDEX)
    assert told == {subject: (before[subject], after[subject]) for subject in told}


@pytest.fixture
def copy_of_the_site(site: Site, postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """The URL of a copy, which may be changed."""
    name, original = f"copy_{secrets.token_hex(6)}", str(site.target.url).rpartition("/")[2]
    ask(postgres_server.url(), f"CREATE DATABASE {name} TEMPLATE {original}")
    yield postgres_server.url(name)
    ask(postgres_server.url(), f"DROP DATABASE {name} (FORCE)")


def test_a_vacuum_leaves_no_removable_row_and_says_what_a_rewrite_gives(
    copy_of_the_site: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A run so short gives its look at the space half a second, which a busy machine may use up.
    monkeypatch.setattr("maintenance.postgres.vacuum.space.LEAST_SECONDS", 30.0)

    def vacuum() -> Report:
        target = DatabaseTarget(url=copy_of_the_site)
        job = Job("site", target, VacuumOptions(mode="all"))
        return vacuum_analyze(job, CONFIGURATION.thresholds)

    first, second = vacuum(), vacuum()

    removed = {o.action.subject: o.after.get("removed_rows") for o in first.outcomes}
    assert sum(rows or 0 for rows in removed.values()) > 0
    own = [o for o in second.outcomes if o.action.subject.startswith("public.")]
    assert {o.action.subject: o.after["removed_rows"] for o in own if o.after["removed_rows"]} == {}
    before = ask(copy_of_the_site, TABLE_BYTES)[0][0]
    ask(copy_of_the_site, "VACUUM FULL")
    given_back = before - ask(copy_of_the_site, TABLE_BYTES)[0][0]
    promised = second.facts["rewrite_would_give_back_bytes"]
    assert promised == pytest.approx(given_back, rel=0.1)
