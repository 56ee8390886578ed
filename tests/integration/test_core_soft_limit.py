"""Celery's soft time limit: it ends the work of a run, and nothing else of it."""

import logging
import time
from collections.abc import Callable
from typing import Any

import pytest
from celery.exceptions import Ignore

from maintenance.core.backoff import RetryPolicy
from maintenance.core.errors import Postponed
from maintenance.core.options import parse_options
from maintenance.core.reports import Report
from maintenance.core.runs import ledger, runner
from maintenance.core.runs.steps import LedgerSteps
from maintenance.models import RunState
from tests.integration.test_core_runner import carried_out, queued
from tests.made_tasks import TaskFactory
from tests.soft_limits import Strike

pytestmark = pytest.mark.django_db(transaction=True)

#: Drawn from so wide a range, no wait is one that a worker holds in memory.
IN_YEARS = RetryPolicy(base_seconds=1e9, ceiling_seconds=1e9)


def struck_by(strike: Strike, call: Callable[..., Any]) -> Callable[..., Any]:
    """Return ``call`` with a limit that strikes at its beginning."""

    def struck(*arguments: Any, **named: Any) -> Any:
        strike()
        return call(*arguments, **named)

    return struck


def do_it(_job: Any) -> Report:
    return Report("Work", "Done.")


def test_one_that_comes_after_the_work_is_passed_by(
    strike: Strike, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(ledger, "finish", struck_by(strike, ledger.finish))

    run = carried_out(queued("note_low", number=1))

    assert run.state == RunState.SUCCEEDED
    assert "run finished" in caplog.text
    assert "was passed by" in caplog.text


@pytest.mark.parametrize(
    "why", [ConnectionError("gone"), Postponed("later", time.time() + 3600)], ids=repr
)
def test_one_that_comes_while_a_run_is_given_back_leaves_it_to_its_next_attempt(
    strike: Strike,
    task_that: TaskFactory,
    monkeypatch: pytest.MonkeyPatch,
    why: Exception,
) -> None:
    def give_back(_job: Any) -> Report:
        raise why

    run = queued(task_that(give_back, retry=IN_YEARS).name)
    monkeypatch.setattr(ledger, "requeue", struck_by(strike, ledger.requeue))

    with pytest.raises(Ignore):
        carried_out(run)

    run.refresh_from_db()
    assert run.state == RunState.QUEUED
    assert [run.reason, *(failure["reason"] for failure in run.failures)][-1] == str(why)


def test_one_that_comes_while_steps_are_kept_costs_no_report(
    strike: Strike, task_that: TaskFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(LedgerSteps, "close", struck_by(strike, LedgerSteps.close))

    run = carried_out(queued(task_that(do_it).name))

    assert (run.state, run.summary) == (RunState.SUCCEEDED, "Done.")


def test_one_that_comes_in_the_work_ends_it(strike: Strike, task_that: TaskFactory) -> None:
    def outlast(_job: Any) -> Report:
        strike()
        return Report("Work", "Done.")

    run = queued(task_that(outlast).name)
    with pytest.raises(runner.RunFailed, match="Stopped at its time limit of 1800 seconds"):
        carried_out(run)

    run.refresh_from_db()
    assert run.state == RunState.FAILED


def test_one_that_comes_before_the_work_lets_none_begin(
    strike: Strike, task_that: TaskFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = queued(task_that(do_it).name)
    monkeypatch.setattr(runner, "parse_options", struck_by(strike, parse_options))

    with pytest.raises(runner.RunFailed, match="Stopped at its time limit"):
        carried_out(run)
