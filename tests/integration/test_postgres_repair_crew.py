"""Several sessions that repair under one watch: apart on each table, giving way, ending, going on."""

import os
import signal
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, suppress
from typing import Any

import pytest

from maintenance.conf import DatabaseTarget, Pacing
from maintenance.core.errors import Cancelled, TargetUnavailable
from maintenance.core.job import Job, OpenWindow, SilentProgress
from maintenance.core.options import NoOptions
from maintenance.core.plans import Outcome, Verdict
from maintenance.postgres.connection import connect
from maintenance.postgres.repair.crew import TRIES, Step
from maintenance.postgres.repair.pacing import Speed
from maintenance.postgres.repair.session import RepairSession
from maintenance.postgres.repair.sessions import watching
from maintenance.postgres.repair.table_lock import Occupant, leave, occupy
from maintenance.postgres.repair.time_limits import TimeLimits
from tests.polling import eventually
from tests.postgres_clients import Client, ask
from tests.repair_crews import Noted, Statements, do, our_sessions, step


@pytest.fixture
def url(make_database: Callable[[], str]) -> str:
    url = make_database()
    ask(url, "CREATE TABLE busy (id int)")
    return url


def test_steps_run_side_by_side_and_never_two_on_one_table(url: str) -> None:
    ask(url, "CREATE TABLE seen (name text, on_table int, during tstzrange)")
    note = (
        "INSERT INTO public.seen"
        " SELECT '{}', {}, tstzrange(statement_timestamp(), clock_timestamp(), '[]')"
        " FROM pg_catalog.pg_sleep(0.2)"
    )
    # Neighbours share a table: whoever took the next step as it comes would begin both at once.
    steps = [step(name, note.format(name, n // 2), table=n // 2) for n, name in enumerate("abcdef")]

    work = do(url, steps)

    assert {o.action.subject for o in work.outcomes if o.verdict is Verdict.WORKED} == set("abcdef")
    assert work.left == ()
    together = """
        SELECT a.on_table = b.on_table, count(*)
        FROM seen AS a JOIN seen AS b ON a.name < b.name AND a.during && b.during
        GROUP BY 1
    """
    pairs = dict(ask(url, together))
    assert True not in pairs
    assert pairs[False] >= 2
    eventually(lambda: our_sessions(url) == [], seconds=10, what="the end of our sessions")


def test_a_later_stage_begins_when_the_one_before_has_ended(url: str) -> None:
    trade = Statements()
    steps = [
        step("last", "SELECT 1", table=1, stage=1),
        step("slow", "SELECT pg_catalog.pg_sleep(0.4)", table=2),
        step("quick", "SELECT 1", table=3),
    ]

    do(url, steps, trade=trade)

    assert set(trade.begun[:2]) == {"slow", "quick"}
    assert trade.begun[2] == "last"


def test_a_statement_gives_way_to_the_site_before_its_limit(url: str) -> None:
    hold = "LOCK TABLE public.busy IN ACCESS EXCLUSIVE MODE; SELECT pg_catalog.pg_sleep(60)"
    ended = threading.Event()
    took: list[float] = []

    def read() -> None:
        while not ended.is_set():
            begin = time.monotonic()
            ask(url, "SELECT count(*) FROM busy")
            took.append(time.monotonic() - begin)

    reader = threading.Thread(target=read)
    reader.start()
    work = do(url, [step("held", hold, table=1)], pacing=Pacing(blocked_limit_seconds=1))
    ended.set()
    reader.join()

    assert work.harm.gave_way == TRIES
    assert 0 < work.harm.longest_wait_seconds < 1
    assert max(took) < 2
    [outcome] = work.outcomes
    assert outcome.verdict is Verdict.REFUSED
    assert "gave way to process" in outcome.sentence


def test_nothing_is_at_work_any_more_when_a_run_is_cancelled(url: str) -> None:
    class Impatient(SilentProgress):
        def update(self, done: int, total: int | None = None, **_: Any) -> None:
            if ask(
                url,
                "SELECT 1 FROM pg_stat_activity WHERE query LIKE '%%pg_sleep(60)%%' AND pid <> pg_backend_pid()",
            ):
                raise Cancelled("Cancelled on request.")

    sleepers = [step(n, "SELECT pg_catalog.pg_sleep(60)", table=t) for t, n in enumerate("ab")]
    begin = time.monotonic()

    with pytest.raises(Cancelled):
        do(url, sleepers, progress=Impatient())

    assert time.monotonic() - begin < 10
    eventually(lambda: our_sessions(url) == [], seconds=10, what="the end of our sessions")


class CutOff(Statements):
    """A trade whose connections are cut as its statement leaves, so many times."""

    def __init__(self, times: int) -> None:
        super().__init__()
        self._times = times

    def perform(self, session: RepairSession, step: Step, speed: Speed) -> str | Outcome:
        if len(self.begun) < self._times:
            session.abandon()
        return super().perform(session, step, speed)


def test_a_step_whose_connection_is_cut_is_tried_again(url: str) -> None:
    trade = CutOff(1)

    work = do(url, [step("cut", "SELECT 1")], trade=trade)

    assert [o.verdict for o in work.outcomes] == [Verdict.WORKED]
    assert trade.begun == ["cut", "cut"]


def test_a_step_whose_connection_is_cut_each_time_fails(url: str) -> None:
    work = do(url, [step("cut", "SELECT 1")], trade=CutOff(TRIES))

    [outcome] = work.outcomes
    assert outcome.verdict is Verdict.FAILED
    assert outcome.sentence.startswith(f"the session was ended each of {TRIES} times: ")


def test_a_step_that_somebody_terminates_is_not_begun_again_and_the_others_are_done(
    url: str,
) -> None:
    die = "SELECT pg_catalog.pg_terminate_backend(pg_catalog.pg_backend_pid())"
    trade = Statements()

    work = do(url, [step("ended", die, table=1), step("fine", "SELECT 1", table=2)], trade=trade)

    outcomes = {o.action.subject: o for o in work.outcomes}
    assert outcomes["ended"].verdict is Verdict.FAILED
    assert outcomes["ended"].sentence.startswith(
        "somebody ended its session (terminating connection due to administrator command)"
    )
    assert outcomes["fine"].verdict is Verdict.WORKED
    assert sorted(trade.begun) == ["ended", "fine"]


def test_what_somebody_terminates_with_all_sessions_of_ours_is_not_begun_again_either(
    url: str,
) -> None:
    die = (
        "SELECT pg_catalog.pg_terminate_backend(pid) FROM pg_catalog.pg_stat_activity"
        " WHERE application_name LIKE 'maintenance:%' AND datname = pg_catalog.current_database()"
    )
    trade, noted = Statements(), Noted()

    # Whether the watch or the step is missed first is for the server to say.
    with suppress(TargetUnavailable):
        do(url, [step("ended", die)], trade=trade, steps=noted)
    [outcome] = do(url, [step("ended", die)], trade=trade, steps=noted).outcomes

    assert outcome.verdict is Verdict.FAILED
    assert "it is not begun again by itself" in outcome.sentence
    assert trade.begun == ["ended"]


def test_a_session_that_answers_no_request_to_cancel_is_left_behind(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("maintenance.postgres.repair.crew.PATIENCE_SECONDS", 0.2)
    sleeping = (
        "SELECT pid FROM pg_stat_activity"
        " WHERE query LIKE '%%pg_sleep(600)%%' AND pid <> pg_backend_pid()"
    )
    stopped: list[int] = []
    ended: list[BaseException] = []

    class Impatient(SilentProgress):
        def update(self, done: int, total: int | None = None, **_: Any) -> None:
            stopped.extend(pid for (pid,) in ask(url, sleeping) if pid not in stopped)
            if stopped:
                os.kill(stopped[0], signal.SIGSTOP)
                raise Cancelled("Cancelled on request.")

    def work() -> None:
        try:
            do(url, [step("hangs", "SELECT pg_catalog.pg_sleep(600)")], progress=Impatient())
        except Cancelled as cancelled:
            ended.append(cancelled)

    run = threading.Thread(target=work)
    run.start()
    try:
        eventually(lambda: ended != [], 60, "the end of the run beside a server that hangs")
    finally:
        for pid in stopped:
            os.kill(pid, signal.SIGCONT)
        run.join()
    eventually(lambda: our_sessions(url) == [], seconds=10, what="the end of our sessions")


def test_what_an_earlier_attempt_has_done_is_not_done_again(url: str) -> None:
    done = Outcome(step("done", "SELECT 1").action, Verdict.WORKED, "by the first attempt")
    trade, noted = Statements(), Noted(done)

    work = do(url, [step("done", "SELECT 1"), step("new", "SELECT 1")], trade=trade, steps=noted)

    assert trade.begun == ["new"]
    assert [o.sentence for o in work.outcomes] == ["by the first attempt", ""]
    assert set(noted.done()) == {"run done", "run new"}


@pytest.mark.parametrize(
    ("verdict", "tried"),
    [
        (Verdict.BLOCKED, ["one"]),
        (Verdict.REFUSED, ["one"]),
        (Verdict.FAILED, []),
        (Verdict.NO_GAIN, []),
    ],
)
def test_what_stood_in_the_way_of_an_earlier_attempt_may_be_gone(
    url: str, verdict: Verdict, tried: list[str]
) -> None:
    trade = Statements()
    earlier = Outcome(step("one", "SELECT 1").action, verdict, "by the first attempt")

    work = do(url, [step("one", "SELECT 1")], trade=trade, steps=Noted(earlier))

    assert trade.begun == tried
    assert [o.verdict for o in work.outcomes] == [Verdict.WORKED if tried else verdict]


def test_a_window_that_closes_ends_what_is_at_work_and_leaves_the_rest(url: str) -> None:
    now = time.time()
    window = OpenWindow(closes_epoch_seconds=now + 1, next_opens_epoch_seconds=now + 3600)
    limits = TimeLimits.starting_now(window=window)
    sleepers = [step(n, "SELECT pg_catalog.pg_sleep(60)", table=t) for t, n in enumerate("abc")]

    work = do(url, sleepers, limits=limits)

    assert {s.action.subject: reason for s, reason in work.left} == dict.fromkeys(
        "abc", "the maintenance window closed"
    )
    assert limits.window_is_closed
    eventually(lambda: our_sessions(url) == [], seconds=10, what="the end of our sessions")


def test_nothing_begins_while_the_site_is_too_busy_and_the_wait_has_an_end(url: str) -> None:
    pacing = Pacing(lock_waiters=1, longest_wait_seconds=1)
    with Client(url) as holder, ExitStack() as waiting:
        holder.run("BEGIN; LOCK TABLE busy IN ACCESS EXCLUSIVE MODE")
        for _ in range(2):
            client = waiting.enter_context(Client(url))
            client.start("SELECT count(*) FROM busy")
        waiters = "SELECT count(*) FROM pg_locks WHERE NOT granted"
        eventually(lambda: ask(url, waiters) == [(2,)], seconds=30, what="two waiters")
        trade = Statements()

        work = do(url, [step("never", "SELECT 1")], trade=trade, pacing=pacing)

    assert trade.begun == []
    [(left, reason)] = work.left
    assert left.action.subject == "never"
    assert reason.startswith(
        "no quieter moment came in 1 second: 2 sessions wait for locks (limit 1)"
    )
    assert work.harm.waited_seconds >= 0.9


def test_the_latency_of_others_is_measured_before_and_beside_the_work(url: str) -> None:
    work = do(url, [step("long", "SELECT pg_catalog.pg_sleep(0.8)")])

    latency = work.harm.latency
    assert latency is not None
    assert latency.probes >= 2
    assert 0 < latency.before_ms < 1000
    assert latency.during_ms <= latency.slowest_ms


def test_a_server_that_is_away_is_no_fault_of_a_table(url: str) -> None:
    gone = DatabaseTarget(url=url.replace("@", "@", 1).rpartition("/")[0] + "/no_such_database")
    with pytest.raises(TargetUnavailable), watching(Job("site", gone, NoOptions()), 1):
        pass


@pytest.mark.parametrize("oid", [1, 2**31 - 1, 2**31, 2**32 - 1])
def test_only_one_run_is_at_work_on_a_table(url: str, oid: int) -> None:
    target = DatabaseTarget(url=url)
    with connect(target) as first, connect(target) as second:
        assert occupy(first, oid) is None
        assert occupy(second, oid) == Occupant(first.info.backend_pid, is_autovacuum=False)
        leave(first, oid)
        assert occupy(second, oid) is None
