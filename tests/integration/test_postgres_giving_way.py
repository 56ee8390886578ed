"""A reading statement that somebody of the site waits for is ended, and the reading goes on without it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any

import psycopg2.errors
import pytest

from maintenance.conf import DatabaseTarget, Pacing, Thresholds
from maintenance.core.job import Job
from maintenance.core.reports import Report
from maintenance.postgres import analyses
from maintenance.postgres.analyses import ANALYSES
from maintenance.postgres.bloat.exact import ExactReader
from maintenance.postgres.checks import run_analyses
from maintenance.postgres.connection import connect
from maintenance.postgres.giving_way import GaveWay
from maintenance.postgres.integrity.options import IntegrityOptions
from maintenance.postgres.integrity.review import check_data_integrity
from maintenance.postgres.time_budget import TimeBudget
from tests.polling import eventually
from tests.postgres_clients import Client, ask, narrow_role

LIMIT_SECONDS = 2.0
#: Reads the table for a minute, as a count of a large one does.
LONG_READ = "SELECT pg_catalog.pg_sleep(60) FROM public.busy"
READING = "SELECT 1 FROM pg_locks WHERE relation = 'busy'::regclass AND mode = 'AccessShareLock'"
OURS = "SELECT application_name FROM pg_stat_activity WHERE application_name LIKE 'maintenance:%%'"


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    url = make_database()
    ask(url, "CREATE TABLE busy (id int)")
    ask(url, "INSERT INTO busy VALUES (1)")
    return url


class Site:
    """Alters the table as soon as it is read by us."""

    def __init__(self, url: str) -> None:
        self._url = url
        self.waited_seconds = 0.0

    def _alter(self) -> None:
        eventually(lambda: ask(self._url, READING) != [], 30, "our reading")
        begin = time.monotonic()
        ask(self._url, "ALTER TABLE busy ADD COLUMN more int")
        self.waited_seconds = time.monotonic() - begin

    @contextmanager
    def altering(self) -> Iterator[None]:
        """Alter the table beside the body."""
        thread = threading.Thread(target=self._alter)
        thread.start()
        yield
        thread.join()


def target_of(url: str, **pacing: Any) -> DatabaseTarget:
    return DatabaseTarget(url=url, pacing=Pacing(**pacing))


def test_a_reading_statement_gives_way_to_who_waits_for_it(url: str) -> None:
    site = Site(url)
    with connect(target_of(url)) as conn, conn.cursor() as cursor:
        with site.altering(), pytest.raises(psycopg2.errors.QueryCanceled) as ended:
            cursor.execute(LONG_READ)

        assert isinstance(ended.value, GaveWay)
        assert str(ended.value).startswith("gave way to process ")
        assert str(ended.value).endswith(", which waited for its lock")
        assert 0 < site.waited_seconds < LIMIT_SECONDS
        cursor.execute("SELECT count(*) FROM public.busy")  # the session goes on
        assert cursor.fetchone() == (1,)


def test_a_shorter_limit_is_kept_as_well(url: str) -> None:
    site = Site(url)
    with (
        connect(target_of(url, blocked_limit_seconds=1)) as conn,
        conn.cursor() as cursor,
        site.altering(),
        pytest.raises(GaveWay),
    ):
        cursor.execute(LONG_READ)
    assert 0 < site.waited_seconds < 1


def test_who_reads_beside_us_waits_for_nobody(url: str) -> None:
    with connect(target_of(url)) as conn, conn.cursor() as cursor, Client(url) as reader:
        reader.run("BEGIN; SELECT count(*) FROM busy")
        cursor.execute("SELECT pg_catalog.pg_sleep(1.5) FROM public.busy")
        assert cursor.rowcount == 1


def test_a_second_session_stands_beside_a_long_statement_only(url: str) -> None:
    seen: list[list[tuple[Any, ...]]] = []
    with connect(target_of(url), purpose="reading") as conn, conn.cursor() as cursor:
        for _ in range(200):
            cursor.execute("SELECT 1")
        assert ask(url, OURS) == [("maintenance:reading",)]

        def look() -> None:
            both = [("maintenance:lookout",), ("maintenance:reading",)]
            eventually(lambda: sorted(ask(url, OURS)) == both, 10, "a session beside ours")
            seen.append(both)

        looking = threading.Thread(target=look)
        looking.start()
        cursor.execute("SELECT pg_catalog.pg_sleep(2)")
        looking.join()
        assert len(seen) == 1
        one = [("maintenance:reading",)]
        eventually(lambda: ask(url, OURS) == one, 5, "the end of the session beside ours")


def test_what_nobody_can_watch_ends_at_the_limit(url: str) -> None:
    with narrow_role(url, "pg_read_all_data") as narrow:
        name = narrow.partition("//")[2].partition(":")[0]
        ask(url, f"ALTER ROLE {name} CONNECTION LIMIT 1")
        begin = time.monotonic()
        with (
            connect(target_of(narrow)) as conn,
            conn.cursor() as cursor,
            pytest.raises(GaveWay, match=r"it could not be seen who waits for it: .*too many"),
        ):
            cursor.execute(LONG_READ)
        assert time.monotonic() - begin < LIMIT_SECONDS


def slow_index(url: str) -> None:
    """Give the table a unique index whose key takes us a minute to compute, and nobody else."""
    ask(
        url,
        "CREATE FUNCTION slowly(int) RETURNS int LANGUAGE plpgsql IMMUTABLE AS $$ BEGIN"
        " IF pg_catalog.current_query() LIKE '%maintenance%' THEN"
        " PERFORM pg_catalog.pg_sleep(0.1); END IF; RETURN $1; END $$",
    )
    ask(url, "TRUNCATE busy")
    ask(url, "CREATE UNIQUE INDEX slow ON busy (slowly(id))")
    ask(url, "INSERT INTO busy SELECT generate_series(1, 600)")


def test_a_check_of_integrity_that_gives_way_leaves_the_others(url: str) -> None:
    slow_index(url)
    ask(url, "CREATE TABLE other (id int)")
    ask(url, "CREATE UNIQUE INDEX quick ON other (id)")
    # What cannot be trusted is looked at.
    ask(url, "UPDATE pg_index SET indisvalid = false WHERE indrelid::regclass::text ~ 'busy|other'")
    site = Site(url)
    options = IntegrityOptions(amcheck="off")

    with site.altering():
        report = check_data_integrity(Job("site", target_of(url), options), Thresholds())

    assert 0 < site.waited_seconds < LIMIT_SECONDS
    [finding] = [f for f in report.findings if f.code == "duplicate-rows"]
    assert not finding.measured
    assert "slow" in finding.subject
    assert "gave way to process" in finding.sentence
    assert report.facts["doubtful_unique_indexes"] == 2


def test_a_whole_table_is_not_read_while_somebody_waits_for_it(url: str) -> None:
    ask(url, "CREATE SCHEMA slow")
    ask(
        url,
        "CREATE FUNCTION slow.pgstattuple(regclass, OUT tuple_count bigint, OUT tuple_len bigint)"
        " LANGUAGE sql AS 'SELECT count(*), 0 FROM public.busy, pg_catalog.pg_sleep(60)'",
    )
    site = Site(url)
    with connect(target_of(url)) as conn, site.altering():
        reader = ExactReader(conn, TimeBudget(60), 60, schema="slow", missing="")
        needs = reader.read("exact_table", 0)

    assert 0 < site.waited_seconds < LIMIT_SECONDS
    assert isinstance(needs, str)
    assert needs.startswith("a moment in which nobody waits for what it reads (it gave way to ")


def test_an_analysis_that_gives_way_says_so_and_leaves_the_others(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(job: Job[DatabaseTarget, Any], _thresholds: Thresholds) -> Report:
        with connect(job.target) as conn, conn.cursor() as cursor:
            cursor.execute(LONG_READ)
        raise AssertionError

    known = ANALYSES["indexes"]
    ours = replace(known, parts=(replace(known.parts[0], measure=read),))
    monkeypatch.setattr(analyses, "ANALYSES", {**ANALYSES, "indexes": ours})
    site = Site(url)

    with site.altering():
        names = ["indexes", "blocking"]
        reports = run_analyses("site", target_of(url), names, Thresholds())

    assert 0 < site.waited_seconds < LIMIT_SECONDS
    [finding] = [f for f in reports[0].findings if f.code == "not-measured"]
    assert finding.sentence.startswith("unavailable: It gave way to process ")
    assert [f for f in reports[1].findings if f.code == "not-measured"] == []
