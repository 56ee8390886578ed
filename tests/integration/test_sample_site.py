"""The sample site holds what its truth says: each planted fault is checked against the servers."""

import base64
import json
import os
import secrets
import subprocess
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psycopg2
import pytest
import redis
from django.core.cache.backends.redis import RedisSerializer
from psycopg2 import sql

from maintenance.conf import StreamOwners, parse_configuration
from maintenance.core.job import Job
from maintenance.core.plans import Verdict
from maintenance.postgres.answers import first_column
from maintenance.redis.abandoned import remove_abandoned_streams
from maintenance.redis.abandoned_options import RemoveStreamsOptions
from service.embedded.postgres import EmbeddedPostgres
from service.embedded.valkey import EmbeddedValkey
from service.sample_site import SampleSiteError, Truth, build
from service.sample_site.database import site_connection
from service.sample_site.keyspace import MARKER_KEY
from service.sample_site.truth import FaultKind

ROOT = Path(__file__).resolve().parents[2]
SITE_CONFIGURATION = ROOT / "service" / "sample_site" / "maintenance.toml"
SCALE = 0.05


class Site:
    """A built site, its truth, and questions to its servers."""

    def __init__(self, database_url: str, redis_url: str) -> None:
        self.database_url = database_url
        self.redis_url = redis_url
        self.truth = build(database_url, redis_url, scale=SCALE, seed=20)
        self.redis = redis.Redis.from_url(redis_url)

    def ask(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        return ask(self.database_url, query, *parameters)

    def subjects(self, kind: FaultKind) -> set[str]:
        return {fault.subject for fault in self.truth.of_kind(kind)}

    def decoys(self, kind: FaultKind) -> set[str]:
        return {decoy.subject for decoy in self.truth.decoys_of_kind(kind)}


def ask(url: str, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(query, parameters or None)
            return cursor.fetchall() if cursor.description else []


@contextmanager
def new_database(server: EmbeddedPostgres) -> Iterator[str]:
    name = f"sample_site_{secrets.token_hex(6)}"
    server.ensure_database(name)
    yield server.url(name)
    ask(server.url(), f"DROP DATABASE {name} (FORCE)")


@pytest.fixture(scope="module")
def site_valkey(server_root: Path) -> Iterator[EmbeddedValkey]:
    """A Valkey for these tests alone: its hit ratio is part of what is planted."""
    with EmbeddedValkey(
        server_root / "sample-site", secrets.token_hex(16), settings={"appendonly": "no"}
    ) as server:
        yield server


@pytest.fixture(scope="module")
def site(postgres_server: EmbeddedPostgres, site_valkey: EmbeddedValkey) -> Iterator[Site]:
    with new_database(postgres_server) as database_url:
        site = Site(database_url, site_valkey.url(0))
        yield site
        site.redis.close()


@pytest.fixture
def spare_redis(site_valkey: EmbeddedValkey) -> Iterator[str]:
    """The URL of an empty database of the Valkey."""
    url = site_valkey.url(7)
    yield url
    with redis.Redis.from_url(url) as client:
        client.flushdb()


# --- the truth itself -------------------------------------------------------------------------


#: What the builder plants in servers: these stand in what `up` writes beside them.
IN_SERVERS = set(FaultKind) - {
    FaultKind.ERROR_BURST,
    FaultKind.SLOW_ROUTE,
    FaultKind.SLOW_UNDER_LOAD,
    FaultKind.DISK_FILLS_UP,
    FaultKind.CONNECTIONS_RUN_OUT,
    FaultKind.TOO_FEW_WORKERS,
    FaultKind.LOOSE_TARGET,
    FaultKind.MISCONFIGURED_SERVER,
    FaultKind.OVERSIZED_IMAGE,
    FaultKind.HARMFUL_IMAGE,
    FaultKind.ORPHANED_FILE,
    FaultKind.REPEATED_QUERY,
    FaultKind.CARELESS_STATIC_FILES,
    FaultKind.LOST_SLOT,
}


def test_every_kind_of_fault_is_planted(site: Site) -> None:
    assert {fault.kind for fault in site.truth.faults} == IN_SERVERS
    assert site.truth.unavailable == {}


def test_the_truth_survives_its_file(site: Site, tmp_path: Path) -> None:
    path = tmp_path / "truth.json"
    site.truth.write(path)
    assert Truth.read(path) == site.truth
    document = json.loads(path.read_text())
    assert document["schema_version"] == 1
    named_by = {fault["kind"]: fault["analysed_by"] for fault in document["faults"]}
    assert named_by["over_length_stream"] == "trim_streams"
    assert named_by["sequence_near_end"] == "review_database_growth"
    assert named_by["missing_fk_index"] == "report_missing_indexes"


def test_a_truth_of_another_schema_version_is_refused() -> None:
    with pytest.raises(SampleSiteError, match="schema version 99"):
        Truth.from_json('{"schema_version": 99}')


def test_the_same_seed_gives_the_same_truth_and_another_seed_another(
    site: Site, make_database: Callable[[], str], spare_redis: str
) -> None:
    database_url = make_database()
    again = build(database_url, spare_redis, scale=SCALE, seed=20)
    assert again == site.truth
    assert everything(database_url) == everything(site.database_url)
    other = build(database_url, spare_redis, scale=SCALE, seed=21)
    assert other != site.truth
    assert everything(database_url) != everything(site.database_url)


def everything(url: str) -> dict[str, str]:
    """A checksum of each table's rows in the order in which they lie on disk."""
    tables = ask(url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    checksum = sql.SQL("SELECT md5(string_agg(t::text, '|' ORDER BY ctid)) FROM {} AS t")
    with closing(psycopg2.connect(url)) as connection, connection.cursor() as cursor:
        checksums = {}
        for (table,) in tables:
            cursor.execute(checksum.format(sql.Identifier("public", table)))
            checksums[table] = cursor.fetchall()[0][0]
        return checksums


# --- upkeep of tables -------------------------------------------------------------------------


def test_autovacuums_own_rule_names_exactly_the_planted_tables(site: Site) -> None:
    due = site.ask(
        """
        SELECT 'public.' || s.relname,
            s.n_dead_tup > current_setting('autovacuum_vacuum_threshold')::int
                + current_setting('autovacuum_vacuum_scale_factor')::float * greatest(c.reltuples, 0),
            s.n_mod_since_analyze > current_setting('autovacuum_analyze_threshold')::int
                + current_setting('autovacuum_analyze_scale_factor')::float * greatest(c.reltuples, 0),
            s.n_ins_since_vacuum > current_setting('autovacuum_vacuum_insert_threshold')::int
                + current_setting('autovacuum_vacuum_insert_scale_factor')::float * greatest(c.reltuples, 0)
        FROM pg_stat_user_tables AS s JOIN pg_class AS c ON c.oid = s.relid
        """
    )
    assert {row[0] for row in due if row[1]} == site.subjects(FaultKind.DEAD_TUPLES)
    assert {row[0] for row in due if row[2]} == site.subjects(FaultKind.STALE_STATISTICS)
    assert {row[0] for row in due if row[3]} == site.subjects(FaultKind.UNVACUUMED_INSERTS)
    disabled = site.ask(
        "SELECT 'public.' || relname FROM pg_class"
        " WHERE relkind = 'r' AND 'autovacuum_enabled=off' = ANY(reloptions)"
    )
    assert {name for (name,) in disabled} == site.subjects(FaultKind.AUTOVACUUM_DISABLED)


def test_the_pages_hold_the_dead_rows_that_the_counters_claim(site: Site) -> None:
    site.ask("CREATE EXTENSION IF NOT EXISTS pageinspect")
    for fault in site.truth.of_kind(FaultKind.DEAD_TUPLES):
        # lp_flags 3: a line pointer whose row is already gone; else a row that somebody deleted.
        ((dead,),) = site.ask(
            """
            SELECT count(*) FILTER (WHERE lp_flags = 3 OR (lp_flags = 1 AND t_xmax <> 0 AND t_infomask & 2048 = 0))
            FROM generate_series(0, pg_relation_size(%s::regclass) / 8192 - 1) AS page,
                heap_page_items(get_raw_page(%s, page))
            """,
            fault.subject,
            fault.subject,
        )
        assert dead == fault.expected["rows"] > 0


def test_one_table_was_never_analyzed(site: Site) -> None:
    never = site.ask(
        "SELECT 'public.' || relname FROM pg_stat_user_tables"
        " WHERE last_analyze IS NULL AND last_autoanalyze IS NULL"
    )
    planted = [
        fault.subject
        for fault in site.truth.of_kind(FaultKind.STALE_STATISTICS)
        if fault.expected["never_analyzed"]
    ]
    assert planted == ["public.library_readthrough"] == [name for (name,) in never]
    assert site.ask("SELECT FROM pg_stats WHERE tablename = 'library_readthrough'") == []


# --- bloat ------------------------------------------------------------------------------------


def test_bloat_in_the_truth_is_what_a_rewrite_gives_back(
    make_database: Callable[[], str], spare_redis: str
) -> None:
    database_url = make_database()
    truth = build(database_url, spare_redis, scale=SCALE, seed=3)
    # A rewrite drops dead rows and indexes anew, so this is the size without any bloat.
    ask(database_url, "VACUUM FULL")
    for relation in truth.relations:
        name = relation.subject if relation.subject.count(".") == 1 else _index_of(relation.subject)
        ((rewritten_bytes,),) = ask(database_url, "SELECT pg_relation_size(%s::regclass)", name)
        assert rewritten_bytes == relation.packed_bytes, relation.subject


def _index_of(subject: str) -> str:
    schema, _table, index = subject.split(".")
    return f"{schema}.{index}"


def test_bloated_relations_are_free_space_and_sound_ones_are_not(site: Site) -> None:
    site.ask("CREATE EXTENSION IF NOT EXISTS pgstattuple")
    bloated = site.subjects(FaultKind.BLOATED_TABLE)
    assert bloated == {"public.library_importitem", "public.library_session"}
    for subject in bloated:
        ((free_percent, dead_tuples),) = site.ask(
            "SELECT free_percent, dead_tuple_count FROM pgstattuple(%s)", subject
        )
        assert free_percent > 60
        assert dead_tuples == 0
    for fault in site.truth.of_kind(FaultKind.BLOATED_INDEX):
        ((leaf_density,),) = site.ask(
            "SELECT avg_leaf_density FROM pgstatindex(%s)", _index_of(fault.subject)
        )
        assert leaf_density < 70  # a fresh index has 90 %
    sound = {r.subject: r.bloat_ratio for r in site.truth.relations if r.bloat_ratio < 0.3}
    assert site.decoys(FaultKind.BLOATED_TABLE) <= sound.keys()
    assert len(sound) > len(site.truth.relations) / 2


# --- indexes ----------------------------------------------------------------------------------


def test_each_index_without_a_scan_is_planted_or_must_stay(site: Site) -> None:
    unscanned = {
        name
        for (name,) in site.ask(
            "SELECT 'public.' || relname || '.' || indexrelname FROM pg_stat_user_indexes"
            " WHERE idx_scan = 0"
        )
    }
    planted = site.subjects(FaultKind.UNUSED_INDEX)
    needed = site.decoys(FaultKind.UNUSED_INDEX)
    assert len(planted) == 6
    assert planted.isdisjoint(needed)
    assert unscanned == planted | needed | site.subjects(FaultKind.INVALID_INDEX)
    for fault in site.truth.of_kind(FaultKind.UNUSED_INDEX):
        ((size_bytes,),) = site.ask(
            "SELECT pg_relation_size(%s::regclass)", _index_of(fault.subject)
        )
        assert size_bytes == fault.expected["size_bytes"]
    ((used,),) = site.ask("SELECT count(*) FROM pg_stat_user_indexes WHERE idx_scan >= 12")
    assert used >= 35


def test_duplicate_and_redundant_indexes_are_exactly_the_planted_ones(site: Site) -> None:
    # Columns, operator classes, collations and options as arrays, for plain valid btrees.
    pairs = site.ask(
        """
        WITH indexes AS (
            SELECT i.indrelid, i.indisunique, i.indnkeyatts AS width,
                format('public.%s.%s', t.relname, c.relname) AS name,
                ARRAY(SELECT (i.indkey[k], i.indclass[k], i.indcollation[k], i.indoption[k])::text
                      FROM generate_series(0, i.indnkeyatts - 1) AS k ORDER BY k) AS keys
            FROM pg_index AS i
            JOIN pg_class AS c ON c.oid = i.indexrelid
            JOIN pg_class AS t ON t.oid = i.indrelid
            JOIN pg_am AS a ON a.oid = c.relam
            WHERE t.relname LIKE 'library%%' AND a.amname = 'btree' AND i.indisvalid
                AND i.indpred IS NULL AND i.indexprs IS NULL
        )
        SELECT short.name, long.name, short.width = long.width
        FROM indexes AS short JOIN indexes AS long USING (indrelid)
        WHERE short.name <> long.name AND NOT short.indisunique
            AND long.keys[:short.width] = short.keys
        """.replace("%%", "%")
    )
    (duplicate,) = site.truth.of_kind(FaultKind.DUPLICATE_INDEX)
    equal = {frozenset(pair[:2]) for pair in pairs if pair[2]}
    assert equal == {frozenset((duplicate.subject, duplicate.expected["covered_by"]))}
    shorter = {(short, long) for short, long, is_equal in pairs if not is_equal}
    assert shorter == {
        (fault.subject, fault.expected["covered_by"])
        for fault in site.truth.of_kind(FaultKind.REDUNDANT_INDEX)
    }


def test_an_index_on_other_columns_looks_redundant_only_as_text(site: Site) -> None:
    columns = dict(
        site.ask(
            "SELECT indexrelid::regclass::text, indkey::text FROM pg_index"
            " WHERE indrelid = 'library_edition'::regclass"
        )
    )
    work, goodreads = (
        columns["library_edition_work_id_idx"],
        columns["library_edition_goodreads_year_idx"],
    )
    assert (work, goodreads) == ("2", "23 5")
    assert goodreads.startswith(work)
    assert site.decoys(FaultKind.REDUNDANT_INDEX) == {
        "public.library_edition.library_edition_work_id_idx"
    }


def test_a_concurrent_unique_index_failed_on_real_duplicates(site: Site) -> None:
    invalid = site.ask(
        "SELECT format('public.%s.%s', indrelid::regclass, indexrelid::regclass), indisunique"
        " FROM pg_index WHERE NOT indisvalid"
    )
    (fault,) = site.truth.of_kind(FaultKind.INVALID_INDEX)
    assert invalid == [(fault.subject, True)]
    twice = site.ask("SELECT lower(email) FROM library_user GROUP BY 1 HAVING count(*) > 1")
    assert len(twice) == fault.expected["duplicate_values"] > 0


def test_one_foreign_key_has_no_index(site: Site) -> None:
    without = site.ask(
        """
        SELECT format('public.%s.%s', c.conrelid::regclass, a.attname), c.conname
        FROM pg_constraint AS c
        JOIN pg_attribute AS a ON a.attrelid = c.conrelid AND a.attnum = c.conkey[1]
        WHERE c.contype = 'f' AND NOT EXISTS (
            SELECT FROM pg_index AS i
            WHERE i.indrelid = c.conrelid AND i.indisvalid AND i.indkey[0] = c.conkey[1]
        )
        """
    )
    (fault,) = site.truth.of_kind(FaultKind.MISSING_FK_INDEX)
    assert without == [(fault.subject, fault.expected["constraint"])]
    assert fault.expected["referencing_rows"] > 1000


# --- integrity and queries --------------------------------------------------------------------


def test_one_int4_sequence_nears_its_end_and_its_column_with_it(site: Site) -> None:
    near = site.ask(
        "SELECT 'public.' || sequencename, last_value FROM pg_sequences"
        " WHERE last_value > 0.9 * max_value"
    )
    (fault,) = site.truth.of_kind(FaultKind.SEQUENCE_NEAR_END)
    assert near == [(fault.subject, fault.expected["last_value"])]
    assert site.ask("SELECT max(id), pg_typeof(max(id))::text FROM library_activity") == [
        (fault.expected["last_value"], "integer")
    ]
    ((large,),) = site.ask("SELECT min(id) FROM library_notification")
    assert large > 2**31


def test_rows_hide_behind_a_constraint_that_was_never_validated(site: Site) -> None:
    (constraint,) = site.truth.of_kind(FaultKind.NOT_VALIDATED_CONSTRAINT)
    (orphans,) = site.truth.of_kind(FaultKind.ORPHANED_ROW)
    assert site.ask(
        "SELECT format('public.%s.%s', conrelid::regclass, conname) FROM pg_constraint"
        " WHERE NOT convalidated"
    ) == [(constraint.subject,)]
    found = site.ask(
        "SELECT f.id FROM library_favorite AS f LEFT JOIN library_status AS s ON s.id = f.status_id"
        " WHERE s.id IS NULL"
    )
    assert len(found) == orphans.expected["rows"] > 0
    with pytest.raises(psycopg2.errors.ForeignKeyViolation):
        site.ask("ALTER TABLE library_favorite VALIDATE CONSTRAINT library_favorite_status_id_fk")


def test_the_slow_query_reads_a_whole_table_and_is_on_record(site: Site) -> None:
    (fault,) = site.truth.of_kind(FaultKind.SLOW_QUERY)
    ((calls, mean_ms, rows, text),) = site.ask(
        "SELECT calls, mean_exec_time, rows, query FROM pg_stat_statements"
        " JOIN pg_database ON pg_database.oid = dbid AND datname = current_database()"
        " WHERE strpos(query, %s) > 0",
        fault.subject,
    )
    assert calls >= fault.expected["calls_at_least"]
    assert mean_ms > 0
    assert rows == 0
    pattern = "'%zugzwang%'"
    plan = site.ask(
        "EXPLAIN " + text.replace("$1", pattern).replace("$2", pattern).replace("$3", "20")
    )
    assert any(
        "Scan on library_status" in line or "using library_status" in line for (line,) in plan
    )
    ((statuses,),) = site.ask("SELECT count(*) FROM library_status")
    assert statuses == fault.expected["rows_read"]


def test_the_builders_statements_are_not_among_those_of_the_site(site: Site) -> None:
    written = site.ask(
        "SELECT query FROM pg_stat_statements"
        " JOIN pg_database ON pg_database.oid = dbid AND datname = current_database()"
        " WHERE query ~* '^(INSERT|UPDATE|DELETE|CREATE TABLE|COPY)'"
    )
    assert written == []


# --- Redis ------------------------------------------------------------------------------------


def lengths(client: redis.Redis, pattern: str, redis_type: str) -> dict[bytes, int]:
    measure = {"zset": client.zcard, "list": client.llen, "stream": client.xlen}[redis_type]
    keys = client.scan_iter(match=pattern, count=1000, _type=redis_type)
    return {key: measure(key) for key in keys if key != b"legacy-home"}


@pytest.mark.parametrize("pattern", ["*-home", "recently-viewed:*", "events:*"])
def test_a_tenth_of_each_stream_family_is_over_length(site: Site, pattern: str) -> None:
    (fault,) = [f for f in site.truth.of_kind(FaultKind.OVER_LENGTH_STREAM) if f.subject == pattern]
    expected = fault.expected
    found = lengths(site.redis, pattern, str(expected["type"]))
    over = [length for length in found.values() if length > int(expected["limit"])]
    assert len(found) == expected["keys"]
    assert len(over) == expected["over_length_keys"] == len(found) // 10
    assert sum(found.values()) == expected["members"]
    assert sum(over) - len(over) * int(expected["limit"]) == expected["members_over_limit"]
    assert found[str(expected["longest_key"]).encode()] == expected["longest_members"] == max(over)


def test_streams_score_statuses_of_the_database_by_their_date(site: Site) -> None:
    for key in (b"1-home", b"700-home"):
        members = site.redis.zrange(key, 0, -1, withscores=True)
        dates = site.ask(
            "SELECT id, extract(epoch FROM published_date)::bigint FROM library_status WHERE id = ANY(%s)",
            [int(member) for member, _ in members],
        )
        assert sorted(dates) == sorted((int(member), int(score)) for member, score in members)
        unread = int(site.redis.get(key + b"-unread"))
        by_type = site.redis.hgetall(key + b"-unread-by-type")
        assert 0 <= unread < len(members)
        assert sum(map(int, by_type.values())) == unread


def test_keys_of_another_type_and_full_streams_are_decoys(site: Site) -> None:
    kinds = {site.redis.type(key) for key in ("legacy-home", "welcome-home", "template-home")}
    assert kinds == {b"list", b"string", b"hash"}
    decoys = site.decoys(FaultKind.OVER_LENGTH_STREAM)
    assert {"legacy-home", "welcome-home", "template-home"} < decoys
    full = [key for key, length in lengths(site.redis, "*-home", "zset").items() if length == 200]
    assert full
    assert {key.decode() for key in full} < decoys


def test_deleted_readers_still_have_their_streams(site: Site) -> None:
    (fault,) = site.truth.of_kind(FaultKind.ABANDONED_STREAM)
    deleted = site.ask("SELECT id FROM library_user WHERE is_deleted")
    assert site.redis.exists(*(f"{user}-home" for (user,) in deleted)) == fault.expected["keys"] > 0


def test_a_dry_run_of_their_removal_counts_the_streams_of_deleted_readers(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SITE_DATABASE_URL", site.database_url)
    monkeypatch.setenv("SITE_REDIS_URL", site.redis_url)
    configured = parse_configuration(tomllib.loads(SITE_CONFIGURATION.read_text()))
    job = Job("site", configured.redis["site"], RemoveStreamsOptions(dry_run=True))

    def readers(owners: StreamOwners) -> Iterator[str]:
        return first_column(configured.database(owners.database), owners.sql)

    report = remove_abandoned_streams(
        job, configured.families_on("site"), configured.stream_owners, readers
    )
    (fault,) = site.truth.of_kind(FaultKind.ABANDONED_STREAM)
    (outcome,) = report.outcomes
    assert outcome.verdict is Verdict.PLANNED
    assert outcome.action.predicted["keys"] == fault.expected["keys"]
    assert fault.analysed_by == "remove_abandoned_streams"


def test_cold_keys_are_missing_and_stale_keys_never_expire(site: Site) -> None:
    cold = site.subjects(FaultKind.COLD_CACHE_KEY)
    assert len(cold) == 3
    assert site.redis.exists(*cold) == 0
    for fault in site.truth.of_kind(FaultKind.STALE_CACHE_KEY):
        keys = list(site.redis.scan_iter(match=fault.subject, count=1000))
        assert len(keys) == fault.expected["keys"] > 0
        assert {site.redis.ttl(key) for key in keys} == {-1}
    for pattern in site.decoys(FaultKind.STALE_CACHE_KEY):
        ttls = [site.redis.ttl(key) for key in site.redis.scan_iter(match=pattern, count=1000)]
        assert ttls
        assert min(ttls) > 0


def test_cached_values_are_those_that_django_reads(site: Site) -> None:
    stored = site.redis.get(":1:book-rating-3")
    assert RedisSerializer().loads(stored) == 2.5


def test_the_server_counts_many_more_misses_than_hits(site: Site) -> None:
    (fault,) = site.truth.of_kind(FaultKind.LOW_CACHE_HIT_RATIO)
    stats = site.redis.info("stats")
    assert stats["keyspace_misses"] >= fault.expected["reads_missed"]
    assert stats["keyspace_hits"] / (stats["keyspace_hits"] + stats["keyspace_misses"]) < 0.8


def test_one_queue_is_too_deep_and_its_messages_are_celerys(site: Site) -> None:
    (fault,) = site.truth.of_kind(FaultKind.QUEUE_TOO_DEEP)
    assert site.redis.llen(fault.subject) == fault.expected["pending"] > 1000
    for queue in site.decoys(FaultKind.QUEUE_TOO_DEEP):
        assert 0 < site.redis.llen(queue) < 1000
    message = json.loads(site.redis.lindex(fault.subject, 0))
    arguments, keywords, _embedded = json.loads(base64.b64decode(message["body"]))
    assert message["headers"]["task"] == "library.tasks.refresh_cover"
    assert (len(arguments), keywords) == (1, {})


# --- refusals and rebuilding ------------------------------------------------------------------


def test_a_database_with_foreign_tables_is_refused_and_nothing_is_changed(
    make_database: Callable[[], str], spare_redis: str
) -> None:
    database_url = make_database()
    ask(database_url, "CREATE TABLE customers (id int)")
    with pytest.raises(
        SampleSiteError, match=r"1 relation\(s\).*public\.customers.*database of its own"
    ):
        build(database_url, spare_redis, scale=SCALE)
    assert ask(database_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == [
        ("customers",)
    ]
    with redis.Redis.from_url(spare_redis) as client:
        assert client.dbsize() == 0


def test_a_redis_with_foreign_keys_is_refused_and_nothing_is_changed(
    make_database: Callable[[], str], spare_redis: str
) -> None:
    database_url = make_database()
    with redis.Redis.from_url(spare_redis) as client:
        client.set("1-home", "somebody's")
        with pytest.raises(SampleSiteError, match=r"holds 1 key\(s\).*database of its own"):
            build(database_url, spare_redis, scale=SCALE)
        assert client.keys() == [b"1-home"]
    assert ask(database_url, "SELECT tablename FROM pg_tables WHERE schemaname = 'public'") == []


def test_building_again_replaces_the_site_and_spares_other_keys(
    make_database: Callable[[], str], spare_redis: str
) -> None:
    database_url = make_database()
    first = build(database_url, spare_redis, scale=0.1)
    with redis.Redis.from_url(spare_redis) as client:
        client.set("somebody-elses", "key")
        client.set(":1:popular_books", "warm")
        second = build(database_url, spare_redis, scale=SCALE)
        assert client.get("somebody-elses") == b"key"
        assert client.exists(":1:popular_books") == 0
        assert client.exists(MARKER_KEY) == 1
        assert len(lengths(client, "*-home", "zset")) == 1000
    assert ask(database_url, "SELECT count(*) FROM library_user") == [(1000,)]
    assert (first.scale, second.scale) == (0.1, SCALE)


def test_the_smallest_scale_still_holds_every_fault(
    make_database: Callable[[], str], spare_redis: str
) -> None:
    steps: dict[str, tuple[int, int]] = {}

    def remember(step: str, done: int, total: int) -> None:
        assert done <= total
        steps[step] = (done, total)

    truth = build(make_database(), spare_redis, scale=0.02, seed=1, progress=remember)
    assert {fault.kind for fault in truth.faults} == IN_SERVERS
    assert {"schema", "rows", "keys and indexes", "churn", "streams", "queues"} < steps.keys()
    assert all(done == total for done, total in steps.values())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"scale": 0.001}, "A scale of 0.001 cannot be built: choose one from 0.02 to 100"),
        ({"scale": float("nan")}, "A scale of nan cannot be built"),
        ({"seed": -1}, "The seed -1 is out of range"),
    ],
)
def test_a_scale_or_seed_out_of_range_is_refused(arguments: dict[str, Any], sentence: str) -> None:
    with pytest.raises(SampleSiteError, match=sentence):
        build("postgresql://nowhere", "redis://nowhere", **arguments)


@pytest.mark.parametrize(
    "url", ["postgresql://me:s3cret@127.0.0.1:1/site", "postgresql://me:s3cret@127.0.0.1:port/site"]
)
def test_an_unreachable_database_is_named_without_its_password(url: str, spare_redis: str) -> None:
    with pytest.raises(SampleSiteError, match=r"database|URL") as refusal:
        build(url, spare_redis)
    assert "s3cret" not in str(refusal.value)


@pytest.mark.parametrize("url", ["redis://:s3cret@127.0.0.1:1/0", "redis://:s3cret@127.0.0.1:x/0"])
def test_an_unreachable_redis_is_named_without_its_password(
    url: str, make_database: Callable[[], str]
) -> None:
    with pytest.raises(SampleSiteError, match="Redis") as refusal:
        build(make_database(), url)
    assert "s3cret" not in str(refusal.value)


def test_two_builds_do_not_meet_in_one_database(
    make_database: Callable[[], str], spare_redis: str
) -> None:
    database_url = make_database()
    with (
        site_connection(database_url),
        pytest.raises(SampleSiteError, match="Another build is at work"),
    ):
        build(database_url, spare_redis, scale=SCALE)


def test_without_pg_stat_statements_the_slow_query_is_named_unavailable(
    postgres_server: EmbeddedPostgres, make_database: Callable[[], str], spare_redis: str
) -> None:
    database_url = make_database()
    role, password = f"librarian_{secrets.token_hex(4)}", secrets.token_hex(8)
    name = database_url.rsplit("/", 1)[1]
    ask(database_url, f"CREATE ROLE {role} LOGIN PASSWORD '{password}'")
    ask(database_url, f"ALTER DATABASE {name} OWNER TO {role}")
    try:
        url = f"postgresql://{role}:{password}@127.0.0.1:{postgres_server.port}/{name}"
        truth = build(url, spare_redis, scale=0.02)
    finally:
        ask(database_url, f"REASSIGN OWNED BY {role} TO CURRENT_USER")
        ask(database_url, f"DROP OWNED BY {role}")
        ask(database_url, f"DROP ROLE {role}")
    assert truth.of_kind(FaultKind.SLOW_QUERY) == ()
    assert "needs CREATE EXTENSION" in truth.unavailable["slow_query"]


# --- the command, the configuration, the warmers ----------------------------------------------


def run_python(arguments: list[str], **environment: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SITE_")}
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**kept, "DJANGO_SETTINGS_MODULE": "service.settings", **environment},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_the_command_prints_what_it_planted_and_no_password(
    make_database: Callable[[], str], spare_redis: str, tmp_path: Path
) -> None:
    database_url, path = make_database(), tmp_path / "truth.json"
    done = run_python(
        ["manage.py", "sample_site", "--scale", "0.02", "--seed", "5", "--truth", str(path)],
        SITE_DATABASE_URL=database_url,
        SITE_REDIS_URL=spare_redis,
    )
    assert done.returncode == 0, done.stderr
    truth = Truth.read(path)
    assert (truth.scale, truth.seed) == (0.02, 5)
    for fault in truth.faults:
        assert fault.subject in done.stdout
        assert fault.kind in done.stdout
    assert f"{len(truth.faults)} faults" in done.stdout
    for url in (database_url, spare_redis):
        password = unquote(urlsplit(url).password or "")
        assert password
        assert password not in done.stdout + done.stderr


def test_the_command_says_which_variable_is_missing() -> None:
    done = run_python(["manage.py", "sample_site", "--database-url-env", "LIBRARY_URL"])
    assert done.returncode == 2
    assert "The environment variable LIBRARY_URL is not set" in done.stderr


def test_the_command_refuses_a_foreign_database_in_one_sentence(
    make_database: Callable[[], str], spare_redis: str
) -> None:
    database_url = make_database()
    ask(database_url, "CREATE TABLE customers (id int)")
    done = run_python(
        ["manage.py", "sample_site"], SITE_DATABASE_URL=database_url, SITE_REDIS_URL=spare_redis
    )
    assert done.returncode == 2
    assert "public.customers" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_configuration_looks_after_what_is_planted(site: Site) -> None:
    text = (ROOT / "service/sample_site/maintenance.toml").read_text()
    parsed = parse_configuration(tomllib.loads(text))
    families = {family.pattern: family for family in parsed.streams.values()}
    assert families.keys() == site.subjects(FaultKind.OVER_LENGTH_STREAM)
    for fault in site.truth.of_kind(FaultKind.OVER_LENGTH_STREAM):
        assert families[fault.subject].type == fault.expected["type"]
        assert families[fault.subject].max_length == fault.expected["limit"]
    patterns = {
        f"{cache.key_prefix}:{cache.version}:{pattern}"
        for cache in parsed.caches.values()
        for rule in cache.invalidate.values()
        for pattern in rule.patterns
    }
    assert patterns == site.subjects(FaultKind.STALE_CACHE_KEY)
    cold = {f":1:{name}" for name in parsed.caches["site"].warmers}
    assert cold == site.subjects(FaultKind.COLD_CACHE_KEY)
    queues = site.subjects(FaultKind.QUEUE_TOO_DEEP) | site.decoys(FaultKind.QUEUE_TOO_DEEP)
    assert set(parsed.brokers["site"].queues) == queues


WARM = """
import django
django.setup()
from maintenance.conf import configuration
from maintenance.core.job import Job
from maintenance.caching.options import WarmOptions
from maintenance.caching.warming import warm_caches
report = warm_caches(Job("site", configuration().caches["site"], WarmOptions()))
print(report.summary)
"""


def test_the_warmers_fill_the_cold_keys_from_the_database(
    make_database: Callable[[], str], spare_redis: str
) -> None:
    database_url = make_database()
    truth = build(database_url, spare_redis, scale=SCALE)
    done = run_python(
        ["-c", WARM],
        SITE_DATABASE_URL=database_url,
        SITE_REDIS_URL=spare_redis,
        MAINTENANCE_CONFIG=str(ROOT / "service/sample_site/maintenance.toml"),
    )
    assert done.returncode == 0, done.stderr
    with redis.Redis.from_url(spare_redis) as client:
        warm = {
            fault.subject: RedisSerializer().loads(client.get(fault.subject))
            for fault in truth.of_kind(FaultKind.COLD_CACHE_KEY)
        }
        ttls = [client.ttl(key) for key in warm]
    books, reviews = warm[":1:popular_books"], warm[":1:newest_reviews"]
    ((edition, shelves),) = ask(
        database_url,
        "SELECT edition_id, count(*) FROM library_shelfbook GROUP BY 1 ORDER BY 2 DESC, 1 LIMIT 1",
    )
    assert len(books) == 100
    assert (books[0]["id"], books[0]["shelves"]) == (edition, shelves)
    assert len(reviews) == 50
    assert reviews[0]["published_at"] >= reviews[-1]["published_at"]
    ((active,),) = ask(database_url, "SELECT count(*) FROM library_user WHERE is_active")
    assert sum(warm[":1:reading_languages"].values()) == active
    assert all(0 < ttl <= 1800 for ttl in ttls)
