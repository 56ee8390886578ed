"""What lies in tables beside their rows: forgotten by the counters, free for rows, or for a rewrite."""

from collections.abc import Callable

import pytest

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.job import Job
from maintenance.core.plans import Verdict
from maintenance.core.reports import Report
from maintenance.postgres.vacuum.options import VacuumOptions
from maintenance.postgres.vacuum.run import vacuum_analyze
from tests.polling import eventually
from tests.postgres_clients import Client, ask

FLUSH = "SELECT pg_stat_force_next_flush()"
#: Servers of tests commit before their WAL is written. VACUUM marks no page as visible to all until it is.
WRITTEN = "CHECKPOINT"
#: Heaps and TOAST tables of a database's own schema.
SIZES = """
SELECT sum(pg_relation_size(c.oid) + coalesce(pg_relation_size(nullif(c.reltoastrelid, 0)), 0))::bigint
FROM pg_class AS c WHERE c.relkind = 'r' AND c.relnamespace = 'public'::regnamespace
"""


def vacuum(url: str, **options: object) -> Report:
    target = DatabaseTarget(url=url, exclude_schemas=("pg_catalog",))
    return vacuum_analyze(
        Job("site", target, VacuumOptions(**options)),  # type: ignore[arg-type]
        Thresholds(minimum_bloat_bytes=1024**2),
    )


def table(
    url: str, name: str, columns: str, rows: str, deleted: str, *, storage: str = "PLAIN"
) -> None:
    ask(url, f"CREATE TABLE {name} (id int PRIMARY KEY, {columns}) WITH (autovacuum_enabled = off)")
    if columns == "body text":
        ask(url, f"ALTER TABLE {name} ALTER body SET STORAGE {storage}")
    ask(url, f"INSERT INTO {name} {rows}")
    ask(url, WRITTEN)
    ask(url, f"VACUUM ANALYZE {name}")
    ask(url, f"DELETE FROM {name} WHERE {deleted}")


@pytest.fixture(autouse=True)
def time_for_all_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """A run so short gives its look at the space half a second, which a busy machine may use up."""
    monkeypatch.setattr("maintenance.postgres.vacuum.space.LEAST_SECONDS", 30.0)


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    url = make_database()
    numbers = "SELECT i, i FROM generate_series(1, 100000) i"
    table(url, "half", "n int", numbers, "id % 2 = 0")
    table(url, "most", "n int", numbers, "id > 10000")
    table(url, "whole", "n int", numbers, "false")
    wide = "SELECT i, repeat(md5(i::text), 1 + i % 40) FROM generate_series(1, 10000) i"
    table(url, "wide", "body text", wide, "id % 3 = 0")
    long = (
        "SELECT i, (SELECT string_agg(md5((i * j)::text), '') FROM generate_series(1, 150) j)"
        " FROM generate_series(1, 1500) i"
    )
    table(url, "toasted", "body text", long, "id % 2 = 0", storage="EXTERNAL")
    ask(url, FLUSH)
    return url


def test_what_only_a_rewrite_gives_back_is_what_vacuum_full_gives_back(url: str) -> None:
    report = vacuum(url, mode="all")
    promised = report.facts["rewrite_would_give_back_bytes"]
    free = report.facts["free_space_in_tables_bytes"]
    assert report.facts["space_not_looked_at_bytes"] == 0

    before = ask(url, SIZES)[0][0]
    ask(url, "VACUUM FULL")
    given_back = before - ask(url, SIZES)[0][0]

    assert given_back > 10 * 1024**2
    assert promised == pytest.approx(given_back, rel=0.1)
    assert free == pytest.approx(given_back, rel=0.2)
    assert "only a rewrite (VACUUM FULL, pg_repack) would give" in report.summary
    again = vacuum(url, mode="all")
    assert again.facts["rewrite_would_give_back_bytes"] < 0.05 * given_back


def test_free_space_is_used_again_by_new_rows(url: str) -> None:
    free = vacuum(url, tables=("half",), mode="all").facts["free_space_in_tables_bytes"]
    before = ask(url, "SELECT pg_relation_size('half')")
    rows = int(0.9 * free / 36)  # 32 bytes a row, and its line pointer
    ask(url, f"INSERT INTO half SELECT -i, i FROM generate_series(1, {rows}) i")
    assert ask(url, "SELECT pg_relation_size('half')") == before


def test_dead_rows_that_must_stay_are_not_called_free(url: str) -> None:
    with Client(url) as holder:
        holder.run("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT count(*) FROM whole")
        ask(url, "DELETE FROM whole WHERE id % 2 = 0")
        ask(url, FLUSH)
        held = vacuum(url, tables=("whole",))
    assert held.outcomes[0].verdict is Verdict.BLOCKED
    size_bytes = held.facts["space_looked_at_bytes"]
    assert held.facts["rewrite_would_give_back_bytes"] < 0.05 * size_bytes
    assert held.facts["free_space_in_tables_bytes"] < 0.05 * size_bytes


def test_a_table_whose_dead_rows_the_counters_forgot_is_found_by_its_pages(url: str) -> None:
    ask(url, "SELECT pg_stat_reset()")
    forgotten = "SELECT 1 FROM pg_stat_user_tables WHERE n_dead_tup > 0"
    eventually(lambda: ask(url, forgotten) == [], 10, "the counters are gone")

    planned = vacuum(url, dry_run=True)
    report = vacuum(url)

    done = {o.action.subject: o for o in report.outcomes if o.action.subject.startswith("public.")}
    assert {"public.half", "public.most", "public.wide"} <= set(done)
    assert "public.whole" not in done
    assert {o.action.subject for o in planned.outcomes} == {
        o.action.subject for o in report.outcomes
    }
    assert "a sample of" in done["public.half"].action.reason
    assert done["public.half"].after["removed_rows"] == 50_000
    assert {o.verdict for o in done.values()} == {Verdict.WORKED}
    ask(url, FLUSH)
    # The next run has counters that are right again, and nothing to do.
    assert not [o for o in vacuum(url).outcomes if "a sample of" in o.action.reason]


def test_a_table_whose_inserts_the_counters_forgot_is_found_by_its_visibility_map(url: str) -> None:
    ask(url, "CREATE TABLE loaded (id int, n int) WITH (autovacuum_enabled = off)")
    ask(url, "INSERT INTO loaded SELECT i, i FROM generate_series(1, 100000) i")
    ask(url, WRITTEN)
    ask(url, FLUSH)
    ask(url, "ANALYZE loaded")
    ask(url, "SELECT pg_stat_reset()")
    forgotten = "SELECT 1 FROM pg_stat_user_tables WHERE n_ins_since_vacuum > 0"
    eventually(lambda: ask(url, forgotten) == [], 10, "the counters are gone")

    report = vacuum(url, tables=("loaded",))

    outcome = report.outcomes[0]
    assert "0 % of its pages are marked as visible to all" in outcome.action.reason
    assert outcome.verdict is Verdict.WORKED
    assert outcome.after["all_visible_pages"] == outcome.after["pages"]
    ask(url, FLUSH)
    assert vacuum(url, tables=("loaded",)).outcomes == ()
