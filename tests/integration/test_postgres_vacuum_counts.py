"""Dead rows that a reader has pruned are counted as removed all the same."""

from collections.abc import Callable
from contextlib import closing

import psycopg2

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.job import Job
from maintenance.postgres.vacuum.options import VacuumOptions
from maintenance.postgres.vacuum.run import vacuum_analyze
from tests.polling import eventually
from tests.postgres_clients import ask


def test_rows_pruned_by_a_reader_count_as_removed(make_database: Callable[[], str]) -> None:
    url = make_database()
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("CREATE TABLE pruned (id int PRIMARY KEY, n int)")
            cursor.execute("ALTER TABLE pruned SET (autovacuum_enabled = off)")
            cursor.execute("INSERT INTO pruned SELECT i, i FROM generate_series(1, 20000) i")
            cursor.execute("DELETE FROM pruned WHERE id % 2 = 0")
            cursor.execute("SELECT count(*) FROM pruned")  # prunes every page on its way
            cursor.execute("SELECT pg_stat_force_next_flush()")

    inserted = "SELECT n_tup_ins FROM pg_stat_user_tables WHERE relname = 'pruned'"
    eventually(lambda: ask(url, inserted) == [(20_000,)], 10, "what was done is counted")
    job = Job("site", DatabaseTarget(url=url), VacuumOptions())
    report = vacuum_analyze(job, Thresholds())

    outcome = next(o for o in report.outcomes if o.action.subject == "public.pruned")
    assert outcome.after["removed_rows"] == 10_000
    assert "10,000 dead rows removed" in outcome.sentence
