"""The buffer cache hit ratio of a real server, between two looks."""

import json
import os
import secrets
import signal
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from psycopg2 import sql

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.findings import Severity
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.reports import Report
from maintenance.postgres.capacity.cache_hit_ratio import review_database_cache_hit_ratio
from service.embedded.postgres import EmbeddedPostgres
from tests.polling import eventually, is_gone
from tests.postgres_clients import ODD_NAME, Client, ask, narrow_role
from tests.servers import FAST_POSTGRES

PAGES = 5_000  # 40 MB: more than a quarter of shared_buffers, so that each reading misses


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    """A database with a table that is too large to be kept."""
    url = make_database()
    # Autovacuum, if it came by, would leave the pages that it looked at in the buffers.
    create = sql.SQL("CREATE TABLE {} (content text) WITH (autovacuum_enabled = off)")
    ask(url, create.format(sql.Identifier(ODD_NAME)))
    ask(url, f"ALTER TABLE {table_of(url)} ALTER content SET STORAGE PLAIN")
    rows = f"SELECT repeat('x', 7000) FROM generate_series(1, {PAGES})"
    ask(url, f"INSERT INTO {table_of(url)} {rows}")
    ask(url, f"VACUUM FULL {table_of(url)}")  # written past the buffers: nothing of it is in them
    ask(url, "SELECT pg_stat_force_next_flush()")
    return url


def table_of(url: str) -> str:
    return str(ask(url, "SELECT oid::regclass::text FROM pg_class WHERE relname ^@ 'Odd'")[0][0])


def review(
    url: str, state: Mapping[str, Any] | None = None, thresholds: Thresholds | None = None
) -> Report:
    job = Job("site", DatabaseTarget(url=url), NoOptions(), previous_state=state or {})
    return review_database_cache_hit_ratio(job, thresholds or Thresholds())


def read_table(url: str) -> None:
    """Read the whole table past the buffers, and see to it that it is counted."""
    with Client(url) as client:
        client.run(f"SELECT count(*) FROM {table_of(url)}")
        client.run("SELECT pg_stat_force_next_flush()")


def state_of(report: Report) -> dict[str, Any]:
    """What the ledger would give to the next run."""
    stored: dict[str, Any] = json.loads(json.dumps(dict(report.state)))
    return stored


def test_what_was_read_since_the_last_look_is_counted_and_nothing_before_it(url: str) -> None:
    first = review(url)
    read_table(url)
    second = review(url, state_of(first))
    assert second.facts["interruption"] == ""
    assert "since the last look" in second.facts["period"]
    # The catalog lookups of both sessions are in it, too, but those of building the table are not.
    assert PAGES <= second.facts["blocks_read"] <= PAGES + 500
    assert second.facts["blocks_hit"] <= 5_000
    (finding,) = second.findings
    assert finding.severity is Severity.WARNING
    assert finding.evidence["hit_ratio"] == second.samples[0].value
    assert second.samples[0].metric == "database_cache_hit_ratio"
    assert second.samples[0].value < 0.5


def test_the_table_that_misses_most_is_named(url: str) -> None:
    read_table(url)
    (table,) = review(url).tables
    first = dict(zip(table.columns, table.rows[0], strict=True))
    assert first["table"] == f"public.{table_of(url)}"
    assert first["blocks_read"] >= PAGES


def test_too_few_reads_withhold_the_ratio_and_the_next_look_covers_them_too(url: str) -> None:
    patient = Thresholds(cache_hit_minimum_reads=PAGES)
    first = review(url, thresholds=patient)
    second = review(url, state_of(first), patient)
    (withheld,) = second.findings
    assert not withheld.measured
    assert second.samples == ()
    assert second.summary.startswith("The cache hit ratio is withheld: only ")
    assert second.state == first.state
    read_table(url)
    third = review(url, state_of(second), patient)
    assert third.findings[0].measured
    assert third.state["measured_at"] > first.state["measured_at"]


def test_a_reset_between_two_looks_is_said(url: str) -> None:
    first = review(url)
    ask(url, "SELECT pg_stat_reset()")
    ask(url, "SELECT pg_stat_force_next_flush()")
    second = review(url, state_of(first))
    assert "reset" in second.facts["interruption"]
    assert second.facts["blocks_read"] < PAGES
    assert "the counters were reset" in second.summary


def test_a_database_that_hits_has_nothing_to_do(url: str) -> None:
    first = review(url)
    with Client(url) as client:
        client.run("CREATE TABLE small AS SELECT id FROM generate_series(1, 1000) AS id")
        for _ in range(500):
            client.run("SELECT count(*) FROM small")
        client.run("SELECT pg_stat_force_next_flush()")
    report = review(url, state_of(first))
    assert report.findings == ()
    assert report.summary.startswith("Nothing to do: ")
    assert report.samples[0].value > 0.95


def test_a_role_that_may_only_connect_gets_the_same_answer(url: str) -> None:
    read_table(url)
    with narrow_role(url) as narrow_url:
        report = review(narrow_url)
    assert report.facts["blocks_read"] >= PAGES
    assert report.tables[0].rows[0][1] >= PAGES


def test_a_crash_between_two_looks_is_said(server_root: Path) -> None:
    with EmbeddedPostgres(
        server_root / "crashing", secrets.token_hex(16), settings=FAST_POSTGRES
    ) as server:
        server.ensure_database("site")
        url = server.url("site")
        first = review(url)
        assert first.facts["interruption"] == ""
        crash(url)
        eventually(lambda: answers(url), 30, "the server has recovered")
        second = review(url, state_of(first))
        assert "the server crashed" in second.facts["interruption"]
        third = review(url, state_of(second), Thresholds(cache_hit_minimum_reads=0))
        assert third.facts["interruption"] == ""


def crash(url: str) -> None:
    """Kill one server process without warning, which makes the server restart itself."""
    with Client(url) as client:
        os.kill(client.pid, signal.SIGKILL)
        eventually(lambda: is_gone(client.pid), 10, "the process is gone")


def answers(url: str) -> bool:
    try:
        return ask(url, "SELECT pg_is_in_recovery()") == [(False,)]
    except psycopg2.OperationalError:
        return False
