"""How many runs are at work at once, over all workers: by task, by target, by what they hold."""

import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection
from django.utils import timezone

from maintenance.core.errors import ConfigurationError
from maintenance.core.options import DryRunOption
from maintenance.core.reports import Report
from maintenance.core.runs import claims, ledger
from maintenance.core.runs.concurrency import LONGEST_WAIT_SECONDS, wait_seconds
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import TargetKind, TaskSpec, task_named
from maintenance.models import Run, RunState, Trigger
from tests.made_tasks import TaskFactory

pytestmark = pytest.mark.django_db(transaction=True)

SCHEDULED = Origin(Trigger.BEAT)
BY_HAND = Origin(Trigger.CLI, actor="ann")


@pytest.fixture(autouse=True)
def configured(settings: Any) -> None:
    site = {"alias": "default", "max_concurrent_runs": 2}
    settings.MAINTENANCE = {"databases": {"site": site, "other": {"alias": "default"}}}


def look(_job: Any) -> Report:
    return Report("Look", "Looked.")


def works(task_that: TaskFactory, name: str, **fields: Any) -> TaskSpec:
    def work(_job: Any) -> Report:
        return Report("Work", "Done.")

    work.__name__ = name
    return task_that(
        work, **{"target_kind": TargetKind.DATABASE, "options_type": DryRunOption, **fields}
    )


def claim(spec: TaskSpec, target: str = "site", origin: Origin = SCHEDULED) -> Run:
    run = ledger.create_run(spec, target, {}, origin)
    return claims.claim(run.id, spec, target, {}, "one@host")


def end(run: Run) -> None:
    ledger.finish(run, RunState.SUCCEEDED, Report("Work", "Done."))


def together(calls: list[Callable[[], Run]]) -> int:
    """Call all at the same moment, each over a connection of its own; return how many succeeded."""
    barrier = threading.Barrier(len(calls))
    won: list[Run] = []

    def body(one: Callable[[], Run]) -> None:
        barrier.wait()
        try:
            won.append(one())
        except (claims.Waits, claims.Overlap, claims.NotClaimed):
            pass
        finally:
            connection.close()

    threads = [threading.Thread(target=body, args=(one,)) for one in calls]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return len(won)


def test_no_more_runs_of_a_task_are_at_work_than_its_cap_however_many_come_together(
    task_that: TaskFactory,
) -> None:
    spec = works(task_that, "capped", target_kind=TargetKind.NONE, max_concurrent=3)
    # Of one task and target only one may run: the cap is for many targets, as these rows stand for.
    runs = [ledger.create_run(spec, "", {}, SCHEDULED) for _ in range(8)]
    for number, run in enumerate(runs):
        Run.objects.filter(id=run.id).update(target=f"target {number}")

    won = together([lambda r=r: claims.claim(r.id, spec, "", {}, "w") for r in runs])

    assert won == 3
    assert Run.objects.filter(state=RunState.RUNNING).count() == 3


def test_no_more_runs_are_at_work_on_a_target_than_its_cap(task_that: TaskFactory) -> None:
    specs = [works(task_that, f"work_{number}") for number in range(6)]

    assert together([lambda s=s: claim(s) for s in specs]) == 2
    assert together([lambda s=s: claim(s, "other") for s in specs]) == 6


def test_a_target_of_another_kind_with_the_same_name_has_a_cap_of_its_own(
    task_that: TaskFactory,
) -> None:
    for number in range(2):
        claim(works(task_that, f"work_{number}"))

    claim(works(task_that, "elsewhere", target_kind=TargetKind.REDIS))
    with pytest.raises(claims.Waits, match="2 runs are at work on database site, which is its"):
        claim(works(task_that, "one_more"))


def test_a_run_over_a_cap_waits_on_its_row_with_the_reason_and_then_works(
    task_that: TaskFactory,
) -> None:
    first, second = claim(works(task_that, "first")), claim(works(task_that, "second"))
    spec = works(task_that, "third")
    waits: list[float] = []
    seen: list[Run] = []

    def on_wait(seconds: float) -> None:
        waits.append(seconds)
        seen.append(Run.objects.get(id=run.id))
        end(first)

    run = ledger.create_run(spec, "site", {}, SCHEDULED)
    done = work_here(run, on_wait)

    assert (done.state, done.attempt, done.reason) == (RunState.SUCCEEDED, 1, "")
    (wait,), (waiting,) = waits, seen
    assert 1 < wait <= 2
    assert (waiting.state, waiting.published_at) == (RunState.QUEUED, None)
    assert waiting.reason == (
        "2 runs are at work on database site, which is its limit (max_concurrent_runs)."
    )
    end(second)


def test_the_wait_grows_with_the_time_waited_up_to_a_ceiling() -> None:
    short, long = wait_seconds(timedelta(seconds=1)), wait_seconds(timedelta(hours=9))
    assert 1 < short <= 2
    assert LONGEST_WAIT_SECONDS * 0.75 <= long <= LONGEST_WAIT_SECONDS


# --- What a run has to itself ---


def test_another_task_that_shares_the_resource_waits_and_the_same_task_is_skipped(
    task_that: TaskFactory,
) -> None:
    one = works(task_that, "one", shared_resource="tables", writes=True)
    two = works(task_that, "two", shared_resource="tables", writes=True)
    holder = claim(one)

    with pytest.raises(claims.Overlap):
        claim(one)
    with pytest.raises(
        claims.Waits, match=rf"one \({holder.id}\) has the tables of site to itself"
    ):
        claim(two)
    claim(two, "other")
    claim(works(task_that, "reader"))

    end(holder)
    assert claim(two).resource == "tables"


def test_dry_runs_stand_in_nobodys_way(task_that: TaskFactory) -> None:
    one = works(task_that, "one", shared_resource="tables", writes=True)
    two = works(task_that, "two", shared_resource="tables", writes=True)
    claim(one)
    dry = ledger.create_run(two, "site", {"dry_run": True}, BY_HAND)

    assert dry.resource == "maintenance.two"
    assert claims.claim(dry.id, two, "site", {"dry_run": True}, "w").state == RunState.RUNNING


def test_of_scheduled_runs_of_the_same_work_one_waits_and_a_person_may_add_his(
    task_that: TaskFactory,
) -> None:
    one = works(task_that, "one", shared_resource="tables", writes=True)
    two = works(task_that, "two", shared_resource="tables", writes=True)
    holder = claim(one)
    later = timezone.now() + timedelta(hours=1)
    waiting = ledger.create_run(two, "site", {}, SCHEDULED)
    Run.objects.filter(id=waiting.id).update(reason="one is at work.", available_at=later)

    skipped = work_here(ledger.create_run(two, "site", {}, SCHEDULED))
    assert skipped.state == RunState.SKIPPED
    assert f"run {waiting.id} of the same work waits for that already" in skipped.reason

    by_hand = work_here(ledger.create_run(two, "site", {}, BY_HAND), lambda _seconds: end(holder))
    assert by_hand.state == RunState.SUCCEEDED


@pytest.mark.parametrize(
    ("resource", "names"),
    [
        (
            "tables",
            [
                "reindex_bloated_indexes",
                "tune_autovacuum",
                "tune_statistics",
                "vacuum_analyze",
                "vacuum_full",
            ],
        ),
        ("keys", ["reclaim_redis_memory", "remove_abandoned_streams", "trim_streams"]),
    ],
)
def test_writers_that_must_not_meet_share_a_resource(resource: str, names: list[str]) -> None:
    assert {task_named(name).resource for name in names} == {resource}
    assert task_named("flush_cache").resource == "maintenance.flush_cache"


def test_a_cap_of_nothing_is_refused(settings: Any) -> None:
    from maintenance.conf import configuration

    settings.MAINTENANCE = {"redis": {"main": {"url": "redis://x", "max_concurrent_runs": 0}}}
    with pytest.raises(ConfigurationError, match="max_concurrent_runs"):
        configuration()
