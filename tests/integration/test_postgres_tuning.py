"""Autovacuum settings given to tables on trial, and taken back where they do not help."""

import math
import time
from collections.abc import Callable
from typing import Any

import pytest

from maintenance.conf import DatabaseTarget, Thresholds
from maintenance.core.errors import Cancelled, Postponed, UnknownName
from maintenance.core.job import Job, OpenWindow, Progress, SilentProgress
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.reports import Report
from maintenance.postgres.tuning.options import TuneOptions
from maintenance.postgres.tuning.run import tune_autovacuum
from service.embedded.postgres import EmbeddedPostgres
from tests.earlier_attempts import OfEarlierAttempt
from tests.postgres_clients import Client, ask, narrow_role
from tests.statement_log import log_every_statement, logged_changes

ADVICE = Thresholds(autovacuum_large_trigger_rows=100)


@pytest.fixture
def url(make_database: Callable[[], str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("maintenance.postgres.tuning.run.SHORTEST_BEFORE_SECONDS", 0.0)
    url = make_database()
    ask(url, "CREATE TABLE big (id int, n int) WITH (fillfactor = 90, autovacuum_enabled = true)")
    ask(url, "INSERT INTO big SELECT i, i FROM generate_series(1, 10000) i")
    with Client(url) as client:
        client.run("UPDATE big SET n = n + 1 WHERE id <= 1000")
        client.run("SELECT pg_stat_force_next_flush()")
    ask(url, "VACUUM ANALYZE big")
    return url


def tune(
    url: str,
    state: Any = None,
    *earlier: Outcome,
    **more: Any,
) -> Report:
    return tune_autovacuum(job_of(url, state, *earlier, **more), ADVICE)


def job_of(
    url: str,
    state: Any = None,
    *earlier: Outcome,
    window: OpenWindow | None = None,
    by_hand: bool = False,
    progress: Progress | None = None,
    **options: Any,
) -> Job[DatabaseTarget, TuneOptions]:
    return Job(
        "site",
        DatabaseTarget(url=url, lock_timeout_seconds=0.3),
        TuneOptions(**options),
        previous_state=state or {},
        window=window,
        by_hand=by_hand,
        progress=progress or SilentProgress(),
        **({"steps": OfEarlierAttempt(*earlier)} if earlier else {}),
    )


def settings(url: str) -> list[str]:
    rows = ask(url, "SELECT unnest(reloptions) FROM pg_class WHERE relname = 'big' ORDER BY 1")
    return [text for (text,) in rows]


UNTOUCHED = ["autovacuum_enabled=true", "fillfactor=90"]


def test_advice_is_applied_on_trial_with_its_undo(url: str) -> None:
    report = tune(url, trial_days=3)

    [outcome] = report.outcomes
    assert outcome.verdict is Verdict.WORKED
    assert outcome.action.statement.startswith('ALTER TABLE "public"."big" SET (autovacuum_')
    assert any(s.startswith("autovacuum_vacuum_scale_factor=0.0") for s in settings(url))
    [trial] = report.state["trials"]
    assert trial["table"] == "public.big"
    assert report.follow_up is not None
    assert report.follow_up.options == {"judge_only": True}
    assert report.follow_up.delay_seconds == pytest.approx(3 * 86_400)
    ask(url, outcome.action.undo)
    assert settings(url) == UNTOUCHED


def test_a_dry_run_changes_nothing_and_keeps_what_is_on_trial(url: str) -> None:
    state = tune(url).state
    before = settings(url)

    report = tune(url, state, dry_run=True)

    assert settings(url) == before
    assert report.state == state
    assert report.follow_up is None


def test_a_window_that_has_closed_puts_it_off_but_not_for_a_person(url: str) -> None:
    now = time.time()
    window = OpenWindow(closes_epoch_seconds=now - 1, next_opens_epoch_seconds=now + 3600)
    with pytest.raises(Postponed, match="window closed with 1 statement left") as put_off:
        tune(url, window=window)
    assert put_off.value.until_epoch_seconds == now + 3600
    assert settings(url) == UNTOUCHED

    [outcome] = tune(url, window=window, by_hand=True).outcomes
    assert outcome.verdict is Verdict.WORKED
    assert settings(url) != UNTOUCHED


def test_the_server_runs_exactly_what_the_dry_run_said(
    url: str, postgres_server: EmbeddedPostgres
) -> None:
    planned = [o.action.statement for o in tune(url, dry_run=True, trial_days=0).outcomes]
    assert len(planned) == 1
    log_every_statement(url)

    state = tune(url, trial_days=0).state

    assert logged_changes(postgres_server, url) == planned

    state = tune(url, state, judge_only=True).state  # goes on once: nothing was vacuumed
    taken_back = tune(url, state, judge_only=True, dry_run=True).outcomes
    planned += [o.action.statement for o in taken_back]
    tune(url, state, judge_only=True)

    assert len(planned) == 2
    assert logged_changes(postgres_server, url) == planned


def test_a_trial_without_effect_is_taken_back(url: str) -> None:
    state = tune(url, trial_days=0).state

    first = tune(url, state, judge_only=True)
    second = tune(url, first.state, judge_only=True)

    [going_on] = [f for f in first.findings if f.code == "tuning-go-on"]
    assert "no VACUUM has come in" in going_on.sentence
    [outcome] = second.outcomes
    assert (outcome.action.kind, outcome.verdict) == ("take back", Verdict.WORKED)
    assert settings(url) == UNTOUCHED
    assert second.state["trials"] == []
    assert second.follow_up is None


def test_a_trial_that_helps_is_kept(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # Within moments even one VACUUM is many a day.
    monkeypatch.setattr("maintenance.postgres.tuning.trial.MOST_RUNS_PER_DAY", math.inf)
    monkeypatch.setattr("maintenance.postgres.tuning.trial.MOST_TIME_RATIO", math.inf)
    state = tune(url, trial_days=0).state
    with Client(url) as client:
        client.run("UPDATE big SET n = n + 1 WHERE id <= 10")
        client.run("SELECT pg_stat_force_next_flush()")
    ask(url, "VACUUM ANALYZE big")

    report = tune(url, state, judge_only=True)

    assert report.outcomes == ()
    [kept] = [f for f in report.findings if f.code == "tuning-keep"]
    assert "10 dead rows wait for a VACUUM now, 1,000 did before" in kept.sentence
    assert kept.undo
    assert settings(url) != UNTOUCHED


def test_a_trial_that_began_in_an_attempt_that_was_cut_short_goes_on(url: str) -> None:
    whole = tune(url, trial_days=3)
    stored = [Outcome.from_json(outcome.to_json()) for outcome in whole.outcomes]

    report = tune(url, None, *stored, trial_days=3)

    assert report.state == whole.state
    assert [o.verdict for o in report.outcomes] == [Verdict.WORKED]
    assert report.follow_up is not None


def test_a_trial_that_such_an_attempt_took_back_is_said_to_be_taken_back(url: str) -> None:
    first = tune(url, tune(url, trial_days=0).state, judge_only=True)
    whole = tune(url, first.state, judge_only=True)

    report = tune(url, first.state, *whole.outcomes, judge_only=True)

    assert [f.code for f in report.findings] == ["tuning-revert"]
    assert report.findings == whole.findings
    assert report.state["trials"] == []


def test_settings_that_somebody_changed_meanwhile_are_left(url: str) -> None:
    state = tune(url, trial_days=0).state
    ask(url, "ALTER TABLE big SET (autovacuum_vacuum_scale_factor = 0.5)")

    report = tune(url, state, judge_only=True)

    [kept] = [f for f in report.findings if f.code == "tuning-keep"]
    assert "somebody, or a run that was cancelled, has changed them since" in kept.sentence
    assert "autovacuum_vacuum_scale_factor=0.5" in settings(url)


def test_a_table_that_is_locked_is_taken_back_by_the_next_run(url: str) -> None:
    first = tune(url, tune(url, trial_days=0).state, judge_only=True)
    with Client(url, "migration") as client:
        client.run("BEGIN; LOCK TABLE big IN SHARE UPDATE EXCLUSIVE MODE")
        blocked = tune(url, first.state, judge_only=True)
    [outcome] = blocked.outcomes
    assert outcome.verdict is Verdict.BLOCKED
    assert "application migration" in outcome.sentence
    assert blocked.follow_up is not None
    assert "taken back" not in blocked.summary
    assert [f.code for f in blocked.findings] == ["tuning-not-done"]

    tune(url, blocked.state, judge_only=True)

    assert settings(url) == UNTOUCHED


def test_counters_too_young_to_compare_with_are_a_reason_to_wait(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maintenance.postgres.tuning.run.SHORTEST_BEFORE_SECONDS", 1e12)
    [outcome] = tune(url).outcomes
    assert outcome.verdict is Verdict.REFUSED
    assert "too little to compare a trial with" in outcome.sentence
    assert settings(url) == UNTOUCHED


def test_a_role_without_rights_is_refused(url: str) -> None:
    with narrow_role(url, "pg_monitor") as narrow:
        [outcome] = tune(narrow).outcomes
    assert outcome.verdict is Verdict.REFUSED
    assert outcome.sentence == "the role may not: ALTER TABLE needs ownership of the table"


def test_an_unknown_table_gets_a_suggestion(url: str) -> None:
    with pytest.raises(UnknownName, match=r'"bigg".*big'):
        tune(url, tables=("bigg",))


def test_a_name_means_the_tables_of_that_name_in_every_schema_and_one_with_its_schema_that_one(
    url: str,
) -> None:
    ask(url, "CREATE SCHEMA acme")
    ask(url, "CREATE TABLE acme.big AS SELECT * FROM public.big")
    with Client(url) as client:
        client.run("UPDATE acme.big SET n = n + 1 WHERE id <= 1000")
        client.run("SELECT pg_stat_force_next_flush()")
    ask(url, "VACUUM ANALYZE acme.big")

    def changed_by(*tables: str) -> list[str]:
        outcomes = tune(url, tables=tables, dry_run=True).outcomes
        return sorted(outcome.action.statement.split(" SET ")[0] for outcome in outcomes)

    both = ['ALTER TABLE "acme"."big"', 'ALTER TABLE "public"."big"']
    assert changed_by("big") == both
    assert changed_by("acme.big") == both[:1]
    assert changed_by("public.big") == both[1:]


def without_effect(url: str) -> Report:
    """Try settings that come to nothing, up to the run that takes them back."""
    first = tune(url, tune(url, trial_days=0).state, judge_only=True)
    return tune(url, first.state, judge_only=True)


def test_what_did_not_help_is_not_tried_again_unless_the_table_is_named(url: str) -> None:
    state = without_effect(url).state

    again = tune(url, state, trial_days=0)

    [outcome] = again.outcomes
    assert outcome.verdict is Verdict.REFUSED
    assert "since they did not help: name the table" in outcome.sentence
    assert again.state == state
    assert settings(url) == UNTOUCHED
    assert only(tune(url, state, tables=("big",), dry_run=True)).verdict is Verdict.PLANNED
    long_ago = {**state, "taken_back": [{**state["taken_back"][0], "at": 0.0}]}
    assert only(report := tune(url, long_ago, trial_days=0)).verdict is Verdict.WORKED
    assert report.state["taken_back"] == []


def only(report: Report) -> Outcome:
    [outcome] = report.outcomes
    return outcome


def test_a_table_whose_autovacuum_is_off_is_left_alone(url: str) -> None:
    ask(url, "ALTER TABLE big SET (autovacuum_enabled = off)")
    assert tune(url).outcomes == ()
    outcome = only(tune(url, tables=("big",)))
    assert outcome.verdict is Verdict.REFUSED
    assert "its autovacuum is switched off" in outcome.sentence


def test_a_table_that_was_renamed_is_taken_back_and_the_one_in_its_place_left_alone(
    url: str,
) -> None:
    first = tune(url, tune(url, trial_days=0).state, judge_only=True)
    ask(url, "ALTER TABLE big RENAME TO old")
    ask(url, "CREATE TABLE big (id int) WITH (autovacuum_vacuum_scale_factor = 0.003)")

    outcome = only(report := tune(url, first.state, judge_only=True))

    assert (outcome.action.subject, outcome.verdict) == ("public.old", Verdict.WORKED)
    assert report.state["trials"] == []
    assert settings(url) == ["autovacuum_vacuum_scale_factor=0.003"]
    left = "SELECT array_to_string(reloptions, ' ') FROM pg_class WHERE relname = 'old'"
    assert ask(url, left) == [("fillfactor=90 autovacuum_enabled=true",)]


def test_a_reset_of_the_counters_leaves_what_was_counted_since(url: str) -> None:
    state = tune(url, trial_days=0).state
    ask(url, "SELECT pg_stat_reset()")
    state["trials"][0]["began_at"] -= 86_400
    with Client(url) as client:
        client.run("UPDATE big SET n = n + 1 WHERE id <= 10")
        client.run("SELECT pg_stat_force_next_flush()")
    ask(url, "VACUUM ANALYZE big")

    report = tune(url, state, judge_only=True)

    # A VACUUM and an ANALYZE within moments of the reset are more than the site would bear.
    [judged] = [f for f in report.findings if f.code == "tuning-revert"]
    assert "times a day, which is felt itself" in judged.sentence
    assert "10 dead rows wait for a VACUUM now, 1,000 did before" in judged.sentence


def test_a_reset_of_other_counters_judges_nothing(url: str) -> None:
    ask(url, "CREATE TABLE other (id int)")
    state = tune(url, trial_days=0).state
    state["trials"][0]["began_at"] -= 7 * 86_400
    ask(url, "SELECT pg_stat_reset_single_table_counters('other'::regclass)")

    [finding] = tune(url, state, judge_only=True).findings

    assert finding.code == "tuning-go-on"
    assert "no VACUUM has come in 7 days" in finding.sentence


def test_a_dropped_table_hides_no_trial_of_the_one_in_its_place(url: str) -> None:
    state = tune(url, tune(url, trial_days=0).state, judge_only=True).state
    dropped = {**state["trials"][0], "oid": 1}

    report = tune(url, {**state, "trials": [dropped, *state["trials"]]}, judge_only=True)

    assert len([f for f in report.findings if f.code == "tuning-revert"]) == 2
    assert settings(url) == UNTOUCHED


class CancelledOnceSet(SilentProgress):
    """Cancels the run as soon as the table has its settings."""

    def __init__(self, url: str) -> None:
        self._url = url

    def check(self) -> None:
        if settings(self._url) != UNTOUCHED:
            raise Cancelled("by a person")

    def update(
        self, done: int, total: int | None = None, *, phase: str = "", unit: str = ""
    ) -> None:
        self.check()


def test_a_run_that_is_cancelled_names_what_it_has_set(url: str) -> None:
    job = job_of(url, progress=CancelledOnceSet(url))
    with pytest.raises(Cancelled):
        tune_autovacuum(job, ADVICE)
    [left] = job.loose_ends.findings
    assert left.code == "tuning-left-on-trial"
    ask(url, left.commands[0])
    assert settings(url) == UNTOUCHED
