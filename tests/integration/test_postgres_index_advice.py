"""Advice on indexes from a real server's statistics: what is planted is proposed, made and undone."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.postgres.indexes.advice.report import report_index_advice
from maintenance.postgres.indexes.options import MissingIndexOptions
from service.embedded.binaries import PACKAGED_POSTGRES, locate_postgres
from service.embedded.postgres import EmbeddedPostgres
from tests.postgres_clients import ODD_NAME, Client, ask, narrow_role
from tests.servers import FAST_POSTGRES

#: What a site sends, with literals that must never be kept, and the index that it lacks.
PLANTED = {
    "SELECT id FROM status WHERE user_id = 7 AND NOT deleted ORDER BY published DESC LIMIT 20": (
        "public.status (user_id, published DESC)"
    ),
    "SELECT count(*) FROM status WHERE user_id = 8": "public.status (user_id, published DESC)",
    'SELECT id FROM person WHERE UPPER("person"."name"::text) = UPPER(\'secret77\')': (
        "public.person (upper(name))"
    ),
    "SELECT id FROM status WHERE processed IS NULL": "public.status (id) WHERE processed IS NULL",
    "UPDATE status SET deleted = deleted WHERE parent_id = 12": "public.status (parent_id)",
    "SELECT count(*) FROM status WHERE data @> '{\"k\": 12}'": "public.status USING gin (data)",
}
#: What is served already, or better read whole.
DECOYS = (
    "SELECT content FROM status WHERE id = 15",
    "SELECT count(*) FROM status WHERE NOT deleted",
    "SELECT s.id FROM status s JOIN person p ON p.id = s.user_id",
)


def plant(url: str) -> None:
    """Make two tables, and send each statement often enough to be among the costliest."""
    ask(
        url,
        "CREATE TABLE status (id int PRIMARY KEY, user_id int, published timestamptz, deleted bool,"
        " parent_id int, processed timestamptz, data jsonb, content text)",
    )
    ask(
        url,
        "INSERT INTO status SELECT i, i %% 500, now() - i * interval '1 min', i %% 10 = 0, i / 3,"
        " CASE WHEN i %% 2000 > 0 THEN now() END, jsonb_build_object('k', i), md5(i::text)"
        " FROM generate_series(1, 40000) AS i".replace("%%", "%"),
    )
    ask(url, "CREATE TABLE person (id int PRIMARY KEY, name varchar(50))")
    ask(url, "INSERT INTO person SELECT i, 'secret' || i FROM generate_series(1, 40000) AS i")
    ask(url, "VACUUM ANALYZE status")
    ask(url, "VACUUM ANALYZE person")
    ask(url, "CREATE EXTENSION pg_stat_statements")
    send(url)


def send(url: str) -> None:
    """Let the planted statements be all that the statistics hold."""
    ask(url, "SELECT pg_stat_statements_reset()")
    with Client(url) as client:
        for statement in (*PLANTED, *DECOYS):
            for _ in range(3):
                client.run(statement)


@pytest.fixture(scope="module")
def url(postgres_server: EmbeddedPostgres) -> Iterator[str]:
    """A planted database that all tests share: each leaves it as it was."""
    name = f"advice_{secrets.token_hex(6)}"
    postgres_server.ensure_database(name)
    plant(postgres_server.url(name))
    yield postgres_server.url(name)
    ask(postgres_server.url(), f"DROP DATABASE {name} (FORCE)")


def advice(url: str, minimum_bytes: int = 0) -> Report:
    options = MissingIndexOptions(minimum_bytes=minimum_bytes)
    return report_index_advice(Job("site", DatabaseTarget(url=url), options), Thresholds())


def proposals(report: Report) -> dict[str, Finding]:
    return {f.subject: f for f in report.findings if f.code == "index-advice" and f.measured}


def test_what_is_planted_is_proposed_and_nothing_else(url: str) -> None:
    report = advice(url)
    assert proposals(report).keys() == set(PLANTED.values())
    assert "secret" not in str(report.to_json())
    assert {f.severity for f in proposals(report).values()} == {Severity.INFO}
    assert all("needs HypoPG" in f.sentence for f in proposals(report).values())


def test_the_statements_make_the_indexes_and_take_them_away_again(url: str) -> None:
    names = "SELECT count(*) FROM pg_class WHERE relkind = 'i' AND relnamespace = 'public'::regnamespace"
    before = ask(url, names)
    found = proposals(advice(url))
    for finding in found.values():
        (create,) = finding.commands
        assert create.startswith("CREATE INDEX CONCURRENTLY ")
        ask(url, create)
    send(url)
    assert proposals(advice(url)) == {}
    for finding in found.values():
        ask(url, *finding.undo)
    assert ask(url, names) == before
    send(url)
    assert proposals(advice(url)).keys() == found.keys()


def test_only_what_was_sent_since_the_previous_report_counts(url: str) -> None:
    first = advice(url)
    job = Job(
        "site",
        DatabaseTarget(url=url),
        MissingIndexOptions(minimum_bytes=0),
        previous_state=first.state,
    )
    assert proposals(report_index_advice(job, Thresholds())) == {}
    with Client(url) as client:
        client.run("SELECT count(*) FROM status WHERE user_id = 9")
    assert proposals(report_index_advice(job, Thresholds())).keys() == {"public.status (user_id)"}


def test_small_tables_and_excluded_schemas_are_left_out(url: str) -> None:
    assert proposals(advice(url, minimum_bytes=10**9)) == {}
    target = DatabaseTarget(url=url, exclude_schemas=("public",))
    job = Job("site", target, MissingIndexOptions(minimum_bytes=0))
    assert proposals(report_index_advice(job, Thresholds())) == {}


def test_a_locked_table_is_left_out_and_not_waited_for(url: str) -> None:
    with Client(url) as client:
        client.run("BEGIN; LOCK TABLE status IN ACCESS EXCLUSIVE MODE")
        assert proposals(advice(url)).keys() == {"public.person (upper(name))"}


def test_without_the_extension_it_says_what_it_needs(make_database: Callable[[], str]) -> None:
    (finding,) = advice(make_database()).findings
    assert finding.sentence.startswith("unavailable: index advice")
    assert "CREATE EXTENSION pg_stat_statements" in finding.sentence


def test_a_role_that_sees_no_column_statistics_says_so(url: str) -> None:
    with narrow_role(url, "pg_monitor") as narrow:
        report = advice(narrow)
    # Only what no statistics are needed for.
    assert proposals(report).keys() == {"public.status USING gin (data)"}
    (finding,) = [f for f in report.findings if f.code == "index-advice-statistics"]
    assert "public.status" in finding.sentence
    assert "pg_read_all_data" in finding.sentence


def test_a_role_that_sees_no_statements_of_others_says_so(url: str) -> None:
    with narrow_role(url) as narrow:
        report = advice(narrow)
    assert proposals(report) == {}
    assert any("pg_read_all_stats" in f.sentence for f in report.findings)


def test_odd_names_and_taken_names_come_out_as_statements_that_run(
    make_database: Callable[[], str],
) -> None:
    url = make_database()
    quoted = '"' + ODD_NAME.replace('"', '""') + '"'
    ask(url, f"CREATE TABLE {quoted} (id int PRIMARY KEY, {quoted} int)")
    ask(url, f"INSERT INTO {quoted} SELECT i, i FROM generate_series(1, 20000) AS i")
    ask(url, "CREATE TABLE t (a int)")
    ask(url, "INSERT INTO t SELECT generate_series(1, 20000)")
    ask(url, "CREATE TABLE t_a_idx (b int)")
    ask(url, "ANALYZE")
    ask(url, "CREATE EXTENSION pg_stat_statements")
    ask(url, "SELECT pg_stat_statements_reset()")
    with Client(url) as client:
        client.run(f"SELECT id FROM {quoted} WHERE {quoted} = 5")
        client.run("SELECT count(*) FROM t WHERE a = 5")
    found = proposals(advice(url))
    assert found.keys() == {f"public.{quoted} ({quoted})", "public.t (a)"}
    assert "t_a_idx1" in found["public.t (a)"].commands[0]
    for finding in found.values():
        ask(url, *finding.commands)
    assert proposals(advice(url)) == {}
    for finding in found.values():
        ask(url, *finding.undo)


def test_search_by_like_needs_trigrams(make_database: Callable[[], str]) -> None:
    url = make_database()
    ask(url, "CREATE TABLE t AS SELECT md5(i::text) AS content FROM generate_series(1, 20000) AS i")
    ask(url, "ANALYZE t")
    ask(url, "CREATE EXTENSION pg_stat_statements")
    ask(url, "SELECT pg_stat_statements_reset()")
    with Client(url) as client:
        client.run("SELECT content FROM t WHERE content LIKE '%secret%'")
    (finding,) = [f for f in advice(url).findings if f.code == "text-search-index"]
    assert "public.t.content by LIKE needs CREATE EXTENSION pg_trgm" in finding.sentence
    ask(url, "CREATE EXTENSION pg_trgm")
    found = proposals(advice(url))["public.t USING gin (content public.gin_trgm_ops)"]
    assert "do not show the pattern" in found.advice
    ask(url, *found.commands)


HYPOPG = sorted(PACKAGED_POSTGRES.glob("*/lib/hypopg.so"))


@pytest.fixture
def hypopg_url(server_root: Path) -> Iterator[str]:
    """A database with HypoPG, on a server of Debian's packages."""
    if not HYPOPG:
        pytest.skip("needs HypoPG (Debian: postgresql-*-hypopg)")
    bindir = HYPOPG[-1].parents[1] / "bin"
    with EmbeddedPostgres(
        server_root / "hypopg",
        secrets.token_hex(16),
        settings=FAST_POSTGRES,
        binaries=locate_postgres(bindir),
    ) as server:
        plant(server.url())
        ask(server.url(), "CREATE SCHEMA imagined")
        ask(server.url(), "CREATE EXTENSION hypopg SCHEMA imagined")
        yield server.url()


def test_hypopg_proves_what_the_planner_would_use_and_refutes_the_rest(hypopg_url: str) -> None:
    report = advice(hypopg_url)
    found = proposals(report)
    assert found.keys() == set(PLANTED.values())
    gin = found.pop("public.status USING gin (data)")
    assert "Not proven: HypoPG cannot think of a GIN index." in gin.sentence
    for finding in found.values():
        assert finding.severity is Severity.WARNING
        assert finding.evidence["cost_after"] < finding.evidence["cost_before"] / 2
    assert 0 < report.facts["explain_probes"] <= 2 * len(PLANTED) + 2
    # Nothing was made, and nothing of the proof is in the site's statistics.
    assert ask(hypopg_url, "SELECT count(*) FROM imagined.hypopg_list_indexes") == [(0,)]
    texts = "SELECT count(*) FROM pg_stat_statements WHERE query LIKE '%maintenance\\_advice%'"
    assert ask(hypopg_url, texts) == [(0,)]
