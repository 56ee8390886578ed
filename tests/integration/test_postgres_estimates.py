"""Statistics targets given to columns on trial, measured, and taken back where they do not help."""

import json
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest
from psycopg2 import sql

from maintenance.conf import DatabaseTarget, Pacing
from maintenance.core.errors import Cancelled, Postponed, UnknownName
from maintenance.core.job import Job, NoSteps, OpenWindow, SilentProgress
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.reports import Report
from maintenance.postgres.estimates.options import StatisticsOptions
from maintenance.postgres.estimates.run import TRY_AGAIN_SECONDS, tune_statistics
from service.embedded.postgres import EmbeddedPostgres
from tests.earlier_attempts import OfEarlierAttempt
from tests.postgres_clients import ODD_NAME, Client, ask, major_of, narrow_role
from tests.statement_log import log_every_statement, logged_changes


def values(*tiers: tuple[int, int]) -> str:
    """Return a query for rows of an ascending number and a text, in no order on the pages.

    Each of ``tiers`` is a number of values, and how many rows each of them has.
    """
    parts, first = [], 1
    for count, rows in tiers:
        last = first + count - 1
        parts.append(f"SELECT v, {rows} AS rows FROM generate_series({first}, {last}) v")
        first = last + 1
    return (
        f"SELECT v, md5(v || ' ' || n) FROM ({' UNION ALL '.join(parts)}) AS s,"
        " LATERAL generate_series(1, s.rows) n ORDER BY md5(v || ' ' || n)"
    )


#: A list of 100 common values is full, and the 700 behind its end have many times the mean of what is
#: beyond it; a list of 1,000 has all of them.
SKEWED = values((100, 300), (700, 60), (20_000, 2))
#: Whichever 1,000 a list has, nearly all of the 6,000 are taken for the mean of what is beyond it.
BEYOND_EVERY_LIST = values((100, 300), (6000, 15), (100_000, 1))
UNIFORM = values((3000, 33))


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    return filled(make_database(), SKEWED)


def filled(url: str, rows: str) -> str:
    """Fill a table whose column ``kind`` an index has; autovacuum leaves it to the test."""
    ask(url, "CREATE TABLE events (kind int, body text) WITH (autovacuum_enabled = off)")
    ask(url, f"INSERT INTO events {rows}")
    ask(url, "CREATE INDEX ON events (kind)")
    ask(url, "VACUUM ANALYZE events")
    return url


def tune(
    url: str,
    state: Any = None,
    *earlier: Outcome,
    window: OpenWindow | None = None,
    progress: SilentProgress | None = None,
    **options: Any,
) -> Report:
    return tune_statistics(
        job_of(url, state, *earlier, window=window, progress=progress, **options)
    )


def job_of(
    url: str,
    state: Any = None,
    *earlier: Outcome,
    window: OpenWindow | None = None,
    progress: SilentProgress | None = None,
    **options: Any,
) -> Job[DatabaseTarget, StatisticsOptions]:
    return Job(
        "site",
        # On a machine that is busy with other tests it takes long to see that nobody waits.
        DatabaseTarget(url=url, lock_timeout_seconds=0.3, pacing=Pacing(blocked_limit_seconds=30)),
        StatisticsOptions(**options),
        progress=progress or SilentProgress(),
        previous_state=state or {},
        window=window,
        steps=OfEarlierAttempt(*earlier) if earlier else NoSteps(),
    )


def target_of(url: str, column: str = "kind") -> int | None:
    """Return the column's own target just as the catalog has it."""
    statement = (
        "SELECT attstattarget FROM pg_attribute"
        " WHERE attrelid = 'events'::regclass AND attname = %s"
    )
    target: int | None = ask(url, statement, column)[0][0]
    return target


def untouched(url: str) -> int | None:
    """Return what the catalog has for a column without a target of its own."""
    return None if major_of(url) >= 17 else -1


def factors(report: Report) -> list[float]:
    """Return by what factors estimates were off, in the order in which they were measured."""
    return [o.after["error_factor"] for o in report.outcomes if "error_factor" in o.after]


def test_a_target_that_mends_estimates_is_set_on_trial_and_kept(url: str) -> None:
    report = tune(url, trial_days=0)

    kinds = [(o.action.kind, o.verdict) for o in report.outcomes]
    assert kinds == [
        ("analyze", Verdict.WORKED),
        ("set", Verdict.WORKED),
        ("analyze again", Verdict.WORKED),
    ]
    before, after = factors(report)
    assert before > 3
    assert after < 1.3
    assert target_of(url) == 1000
    [trial] = report.state["trials"]
    assert (trial["earlier"], trial["beyond"], trial["target"]) == (None, 100, 1000)
    assert trial["analyze_seconds"] > 0
    assert trial["before"]["planning_ms"] > 0
    assert report.follow_up is not None
    assert report.follow_up.options == {"judge_only": True, "analyze_limit_seconds": 60.0}

    judged = tune(url, report.state, judge_only=True)

    [kept] = judged.findings
    assert kept.code == "statistics-keep"
    assert "-fold now" in kept.sentence
    assert judged.outcomes == ()
    assert judged.state["trials"] == []
    assert judged.follow_up is None
    assert target_of(url) == 1000
    ask(url, kept.undo[0])
    assert target_of(url) == untouched(url)


def test_the_factor_is_that_between_rows_and_the_plan_s_rows(url: str) -> None:
    """The measurement by other means: each value counted, and EXPLAIN with it as a constant."""
    [measured] = off_by(tune(url, dry_run=True))

    off = weights = 0.0
    counts = ask(url, "SELECT kind, count(*) FROM events GROUP BY 1 ORDER BY 2 DESC OFFSET 100")
    for kind, count in [pair for pair in counts if pair[1] >= 12][::20]:
        [(plan,)] = ask(url, f"EXPLAIN (FORMAT JSON) SELECT FROM events WHERE kind = {kind}")
        off += count * abs(math.log(plan[0]["Plan"]["Plan Rows"] / count))
        weights += count

    assert measured == pytest.approx(math.exp(off / weights), rel=0.15)


def off_by(report: Report) -> list[float | None]:
    """Return the factors of the columns that were looked at."""
    [looked] = [table for table in report.tables if table.title == "Columns looked at"]
    return [row[looked.columns.index("off_by_factor")] for row in looked.rows]


def test_a_sample_of_some_pages_tells_the_same_as_the_whole_table(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    [whole] = off_by(tune(url, dry_run=True))
    monkeypatch.setattr("maintenance.postgres.estimates.misestimate.SAMPLED_ROWS", 40_000)
    [sampled] = off_by(tune(url, dry_run=True))
    assert sampled != whole
    assert sampled == pytest.approx(whole, rel=0.2)


def test_values_whose_rows_lie_together_are_not_guessed_at(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A sample of pages meets all of their rows or none, and would find them far from their estimates."""
    ask(url, "CLUSTER events USING events_kind_idx")
    ask(url, "ANALYZE events")
    monkeypatch.setattr("maintenance.postgres.estimates.misestimate.SAMPLED_ROWS", 40_000)
    report = tune(url)
    assert off_by(report) == [None]
    assert report.outcomes == ()


@pytest.mark.parametrize("own_target", [None, 100])
def test_a_target_that_does_not_help_is_taken_back_to_just_what_was_there(
    make_database: Callable[[], str], own_target: int | None
) -> None:
    url = filled(make_database(), BEYOND_EVERY_LIST)
    if own_target is not None:
        ask(url, f"ALTER TABLE events ALTER COLUMN kind SET STATISTICS {own_target}")
    earlier = target_of(url)
    assert earlier == (untouched(url) if own_target is None else own_target)

    first = tune(url, trial_days=7)

    before, after = factors(first)
    assert before > 2
    assert after * 1.5 > before
    assert target_of(url) == 1000
    assert first.follow_up is not None
    assert first.follow_up.delay_seconds == TRY_AGAIN_SECONDS  # and not in a week

    second = tune(url, first.state, judge_only=True)

    assert [(o.action.kind, o.verdict) for o in second.outcomes] == [
        ("take back", Verdict.WORKED),
        ("analyze again", Verdict.WORKED),
    ]
    assert [f.code for f in second.findings] == ["statistics-revert"]
    assert target_of(url) == earlier
    assert second.state["trials"] == []
    assert second.follow_up is None
    [(listed,)] = ask(
        url, "SELECT cardinality(most_common_freqs) FROM pg_stats WHERE attname = 'kind'"
    )
    assert listed <= 100


def test_even_values_are_left_alone(make_database: Callable[[], str]) -> None:
    url = filled(make_database(), UNIFORM)
    report = tune(url)
    assert report.outcomes == ()
    assert report.summary == "Nothing to change; 0 trials going on."
    assert target_of(url) == untouched(url)


def test_statistics_that_were_old_are_renewed_and_no_target_is_set(
    make_database: Callable[[], str],
) -> None:
    url = filled(make_database(), values((100, 300), (3000, 1)))
    ask(url, "DELETE FROM events")
    ask(url, f"INSERT INTO events {values((100, 300), (500, 40), (2500, 15))}")

    report = tune(url)

    [outcome] = report.outcomes
    assert (outcome.action.kind, outcome.verdict) == ("analyze", Verdict.NO_GAIN)
    assert "good enough without a larger target" in outcome.sentence
    assert target_of(url) == untouched(url)


def test_the_server_runs_exactly_what_the_dry_run_said(
    url: str, postgres_server: EmbeddedPostgres
) -> None:
    rehearsed = tune(url, dry_run=True, trial_days=0)
    planned = [o.action.statement for o in rehearsed.outcomes]
    assert target_of(url) == untouched(url)
    assert [s.split()[0] for s in planned] == ["ANALYZE", "ALTER", "ANALYZE"]
    assert rehearsed.summary == "1 column would be given a larger target; 0 trials going on."
    log_every_statement(url)

    state = tune(url, trial_days=0).state

    assert logged_changes(postgres_server, url) == planned

    state["trials"][0]["before"]["error_factor"] = 1.0  # as if it had been as good before
    planned += [o.action.statement for o in tune(url, state, dry_run=True).outcomes]
    tune(url, state, judge_only=True)

    assert len(planned) == 5
    assert logged_changes(postgres_server, url) == planned
    assert target_of(url) == untouched(url)


def test_no_value_of_a_row_leaves_the_server(url: str, postgres_server: EmbeddedPostgres) -> None:
    ask(url, "ALTER TABLE events ADD COLUMN mail text")
    ask(url, "UPDATE events SET mail = 'secret-' || kind || '@example.org'")
    ask(url, "VACUUM FULL events")
    ask(url, "ANALYZE events")
    log_every_statement(url)
    written = postgres_server.log_path.stat().st_size

    report = tune(url, columns=("events.mail",))

    assert target_of(url, "mail") == 1000
    assert "secret-" not in json.dumps([report.to_json(), dict(report.state)])
    with Path(postgres_server.log_path).open("rb") as log:
        log.seek(written)
        said = log.read().decode()
    assert "EXPLAIN" in said
    assert "secret-" not in said


#: An expression of a column's value, for each type that values are compared with.
TYPES = {
    "bigint": "kind",
    "smallint": "kind",
    "numeric(12,3)": "kind + 0.125",
    "double precision": "kind / 3.0",
    "text": "'value ' || kind || ' 100%'",
    "varchar(20)": "kind::text",
    "char(8)": "kind::text",
    "date": "date '2000-01-01' + kind",
    "timestamptz": "timestamptz '2000-01-01 00:00:00.123456+00' + kind * interval '1 hour'",
    "interval": "kind * interval '1.5 seconds'",
    "inet": "inet '10.0.0.0' + kind",
    "uuid": "md5(kind::text)::uuid",
    '"Odd enum"': "'Label ''' || kind || ''''",
}


@pytest.mark.parametrize("type_name", TYPES)
def test_values_of_each_type_are_measured(url: str, type_name: str) -> None:
    labels = sql.SQL(", ").join(sql.Literal(f"Label '{n}'") for n in range(1, 20_801))
    ask(url, sql.SQL('CREATE TYPE "Odd enum" AS ENUM ({})').format(labels))
    table, column = sql.Identifier(ODD_NAME), sql.Identifier(ODD_NAME[:-1] + "c")
    value = sql.SQL(f"({TYPES[type_name]})::{type_name}")
    create = sql.SQL("CREATE TABLE {} AS SELECT {} AS {} FROM events")
    ask(url, create.format(table, value, column))
    ask(url, sql.SQL("CREATE INDEX ON {} ({})").format(table, column))
    ask(url, sql.SQL("ANALYZE {}").format(table))
    ask(url, "DROP TABLE events")

    report = tune(url)

    before, after = factors(report)
    assert before > 3
    assert after < 1.3
    assert [o.verdict for o in report.outcomes] == [Verdict.WORKED] * 3


@pytest.fixture
def owner(url: str) -> Iterator[str]:
    """The URL of the table's owner, who is no superuser."""
    with narrow_role(url) as owner:
        role = sql.Identifier(unquote(urlsplit(owner).username or ""))
        ask(url, sql.SQL("ALTER TABLE events OWNER TO {}").format(role))
        yield owner


def test_the_owner_of_a_table_needs_no_other_right(owner: str) -> None:
    report = tune(owner)
    assert [o.verdict for o in report.outcomes] == [Verdict.WORKED] * 3


def test_a_role_without_ownership_is_told_the_line_that_helps(url: str, owner: str) -> None:
    maintain = ["pg_maintain"] if major_of(url) >= 17 else []
    with narrow_role(url, "pg_monitor", "pg_read_all_data", *maintain, prefix="Odd ") as narrow:
        [refused] = tune(narrow).outcomes
        assert (refused.action.kind, refused.verdict) == ("set", Verdict.REFUSED)
        assert "needs ownership of the table, pg_maintain is not enough" in refused.sentence
        assert target_of(url) == untouched(url)

        line = refused.sentence.partition("or GRANT ")[2]
        ask(url, f"GRANT {line}")
        report = tune(narrow)
    assert [o.verdict for o in report.outcomes] == [Verdict.WORKED] * 3
    assert target_of(url) == 1000


def test_no_membership_of_a_superuser_is_advised(url: str) -> None:
    with narrow_role(url, "pg_monitor", "pg_read_all_data") as narrow:
        [refused] = tune(narrow).outcomes
    assert "its owner is a superuser" in refused.sentence
    assert "GRANT" not in refused.sentence


def test_what_may_not_be_read_is_said_to_be_hidden(url: str) -> None:
    with narrow_role(url, "pg_monitor") as narrow:
        report = tune(narrow)
    [hidden] = report.findings
    assert not hidden.measured
    assert "public.events" in hidden.sentence
    assert report.outcomes == ()


def test_a_column_is_tried_by_name_without_an_index(url: str) -> None:
    ask(url, "DROP INDEX events_kind_idx")
    assert tune(url, dry_run=True).outcomes == ()
    assert len(tune(url, dry_run=True, columns=("events.kind",)).outcomes) == 3
    with pytest.raises(UnknownName, match=r'"events.kin".*Did you mean "events.kind"'):
        tune(url, columns=("events.kin",))


def test_a_name_means_the_columns_of_that_name_in_every_schema(url: str) -> None:
    ask(url, "CREATE SCHEMA acme")
    ask(url, "CREATE TABLE acme.events AS SELECT * FROM public.events")
    ask(url, "ANALYZE acme.events")

    def set_by(*columns: str) -> list[str]:
        outcomes = tune(url, columns=columns, dry_run=True).outcomes
        return sorted(o.action.subject for o in outcomes if o.action.kind == "set")

    both = ["acme.events.kind", "public.events.kind"]
    assert set_by("events.kind") == both
    assert set_by("acme.events.kind", "acme.events.kind") == both[:1]
    assert set_by("public.events.kind") == both[1:]


def test_one_column_of_a_table_is_tried_at_a_time(url: str) -> None:
    ask(url, "ALTER TABLE events ADD COLUMN twin int")
    ask(url, "UPDATE events SET twin = kind")
    ask(url, "CREATE INDEX ON events (twin)")
    ask(url, "VACUUM FULL events")
    ask(url, "ANALYZE events")

    first = tune(url)
    second = tune(url, first.state)

    assert [o.action.kind for o in first.outcomes] == ["analyze", "set", "analyze again"]
    assert {target_of(url), target_of(url, "twin")} == {1000, untouched(url)}
    assert second.outcomes == ()
    assert len(second.state["trials"]) == 1


def test_a_target_that_somebody_changed_meanwhile_is_left(url: str) -> None:
    state = tune(url, trial_days=0).state
    ask(url, "ALTER TABLE events ALTER COLUMN kind SET STATISTICS 333")

    report = tune(url, state, judge_only=True)

    [kept] = report.findings
    assert "somebody, or a run that was cancelled, has changed its target since" in kept.sentence
    assert report.outcomes == ()
    assert target_of(url) == 333


def test_a_column_that_is_gone_ends_its_trial(url: str) -> None:
    state = tune(url, trial_days=0).state
    ask(url, "ALTER TABLE events DROP COLUMN kind")
    report = tune(url, state, judge_only=True)
    assert "the column was dropped meanwhile" in report.findings[0].sentence
    assert report.state["trials"] == []


def test_a_table_that_is_locked_is_taken_back_by_the_next_run(url: str) -> None:
    state = tune(url, trial_days=0).state
    state["trials"][0]["before"]["error_factor"] = 1.0
    with Client(url, "migration") as client:
        client.run("BEGIN; LOCK TABLE events IN SHARE UPDATE EXCLUSIVE MODE")
        blocked = tune(url, state, judge_only=True)
    [outcome] = [o for o in blocked.outcomes if o.verdict is Verdict.BLOCKED]
    assert "application migration" in outcome.sentence
    assert target_of(url) == 1000
    assert blocked.follow_up is not None

    tune(url, blocked.state, judge_only=True)

    assert target_of(url) == untouched(url)


def test_an_analyze_that_takes_too_long_ends_the_trial(url: str) -> None:
    state = tune(url).state
    state["trials"][0]["after"] = None

    cut = tune(url, state, judge_only=True, analyze_limit_seconds=0.002)

    [outcome] = cut.outcomes
    assert (outcome.action.kind, outcome.verdict) == ("analyze again", Verdict.FAILED)
    assert "analyze_limit_seconds" in outcome.sentence
    taken_back = tune(url, cut.state, judge_only=True)
    assert [f.code for f in taken_back.findings] == ["statistics-revert"]
    assert target_of(url) == untouched(url)


def test_a_window_that_has_closed_puts_it_off(url: str) -> None:
    now = time.time()
    window = OpenWindow(closes_epoch_seconds=now - 1, next_opens_epoch_seconds=now + 3600)
    with pytest.raises(Postponed, match="window closed"):
        tune(url, window=window)
    assert target_of(url) == untouched(url)


class CutShort(OfEarlierAttempt):
    """An attempt that ended before the ANALYZE that the target is for."""

    def __init__(self, outcomes: Sequence[Outcome]) -> None:
        super().__init__(*outcomes)

    def record(self, key: str, outcome: Outcome) -> None:
        if not key.startswith("analyze again "):
            super().record(key, outcome)


def test_a_trial_that_began_in_an_attempt_that_was_cut_short_goes_on(url: str) -> None:
    whole = tune(url)
    stored = [Outcome.from_json(outcome.to_json()) for outcome in whole.outcomes]

    after_all = tune(url, None, *stored)
    assert after_all.state == whole.state
    assert [o.verdict for o in after_all.outcomes] == [Verdict.WORKED] * 3

    without_statistics = tune_statistics(replace(job_of(url), steps=CutShort(stored[:2])))
    [trial] = without_statistics.state["trials"]
    assert trial["after"]["error_factor"] < 1.3
    assert len(without_statistics.outcomes) == 3


class CancelledOnceSet(SilentProgress):
    """A run that somebody cancels as soon as the target is set."""

    def __init__(self, url: str) -> None:
        self._url = url

    def check(self) -> None:
        if target_of(self._url) == 1000:
            raise Cancelled("somebody cancelled it")


def test_a_run_that_is_cancelled_names_what_it_has_set(url: str) -> None:
    job = job_of(url, progress=CancelledOnceSet(url))
    with pytest.raises(Cancelled):
        tune_statistics(job)
    [left] = job.loose_ends.findings
    assert left.code == "statistics-left-on-trial"
    ask(url, left.commands[0])
    assert target_of(url) == untouched(url)
