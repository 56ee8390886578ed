"""Any name that PostgreSQL takes comes out right in what we send and in what we advise."""

from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from psycopg2 import sql

import maintenance.tasks.postgres  # noqa: F401 - registers the tasks
from maintenance.conf import DatabaseTarget, Thresholds, configuration
from maintenance.core.job import Job
from maintenance.core.plans import Verdict
from maintenance.core.runs import accepted_targets
from maintenance.core.runs.registry import task_named
from maintenance.postgres.checks import run_analyses
from tests.postgres_clients import ask

THRESHOLDS = Thresholds(redundant_index_minimum_bytes=0, minimum_bloat_bytes=0)

#: At most 63 bytes of anything but NUL (PostgreSQL documentation, "Lexical Structure"), and no schema of
#: the system's own.
legal_names = st.text(
    st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=40
).filter(lambda name: len(name.encode()) <= 63 and not name.lower().startswith("pg_"))

HOSTILE = ['"; DROP TABLE witness; --', "%s %(x)s {0} {}", "'; SELECT 1 --", "\n--\n", "$$", "\\"]

_TABLE = """
CREATE SCHEMA {schema};
CREATE TABLE {schema}.{table} ({column} int NOT NULL);
INSERT INTO {schema}.{table} SELECT generate_series(1, 500);
CREATE INDEX {one} ON {schema}.{table} ({column});
CREATE INDEX {twin} ON {schema}.{table} ({column});
DELETE FROM {schema}.{table} WHERE {column} % 2 = 0;
"""
_INDEXES = "SELECT count(*) FROM pg_indexes WHERE schemaname <> 'pg_catalog'"
_VACUUMED = "SELECT count(*) FROM pg_stat_user_tables WHERE vacuum_count = 1"


@pytest.fixture(autouse=True)
def no_accepted_targets(monkeypatch: pytest.MonkeyPatch) -> None:
    """There is no ledger here, in which somebody could have accepted a target."""
    monkeypatch.setattr(accepted_targets, "configuration_in_force", configuration)


def fill(url: str, names: list[str]) -> None:
    """Give each name to a schema, a table, a column and an index."""
    ask(url, "CREATE TABLE witness (id int)")
    count = len(names)
    for number in range(count):
        schema, table, column, one, twin = (
            sql.Identifier(names[(number + place) % count]) for place in range(5)
        )
        statement = sql.SQL(_TABLE).format(
            schema=schema, table=table, column=column, one=one, twin=twin
        )
        ask(url, statement)
    ask(url, "SELECT pg_stat_force_next_flush()")


@settings(
    max_examples=3,
    phases=(Phase.explicit, Phase.generate),
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    deadline=None,
)
@given(st.lists(legal_names, min_size=4, max_size=6, unique=True))
def test_any_legal_name_comes_out_right(make_database: Callable[[], str], some: list[str]) -> None:
    names = [*HOSTILE, *(name for name in some if name not in HOSTILE)]
    url = make_database()
    fill(url, names)
    target = DatabaseTarget(url=url)

    spec = task_named("vacuum_analyze")
    vacuumed = spec.function(Job("site", target, spec.options_type(mode="all")))
    reports = run_analyses(
        "site", target, ["redundant-indexes", "bloat", "indexes", "vacuum-health"], THRESHOLDS
    )
    twins = [f for f in reports[0].findings if f.code == "duplicate-index"]
    for finding in twins:
        for command in finding.commands:
            ask(url, command)

    ask(url, "SELECT pg_stat_force_next_flush()")
    bad = [o for o in vacuumed.outcomes if o.verdict not in {Verdict.WORKED, Verdict.NO_GAIN}]
    assert not bad
    assert ask(url, _VACUUMED) == [(len(names) + 1,)]
    assert len(twins) == len(names)
    # Of each pair one is left; the command dropped what it says, and nothing beside it.
    assert ask(url, _INDEXES) == [(len(names),)]
    assert ask(url, "SELECT count(*) FROM witness") == [(0,)]
    for finding in twins:
        for undo in finding.undo:
            ask(url, undo)
    assert ask(url, _INDEXES) == [(2 * len(names),)]
