"""Several sessions that repair at once, under one watch.

The calling thread hands steps to threads, each with a session, verifies what they did and says how
far it is; the lookout's thread sees who waits for them. A step's thread does nothing but wait for its
statement, so that a killed process leaves the server only statements whose client is gone, which it
drops by itself (``client_connection_check_interval``).
"""

import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import psycopg2

from maintenance.conf import DatabaseTarget
from maintenance.core.errors import TargetUnavailable
from maintenance.core.job import Job
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.core.wording import seconds_in_words
from maintenance.postgres.connection import connection_was_lost
from maintenance.postgres.repair.ended_by_hand import server_started_at, was_ended_by_hand
from maintenance.postgres.repair.harm import Harm
from maintenance.postgres.repair.pacing import Speed, speed_for
from maintenance.postgres.repair.session import End, Interrupted, RepairSession, SessionLost
from maintenance.postgres.repair.sessions import repair_session
from maintenance.postgres.repair.time_limits import TimeLimits
from maintenance.postgres.repair.watch import Watch

#: A step that gave way, or whose connection was cut, is begun so often in one attempt.
TRIES = 3
#: What is done is verified and noted this often, and not sooner after its end: on 14 counters arrive
#: through a collector, half a second late. A kill in between costs no more than twice this.
SETTLE_SECONDS = 1.0
#: At the end nothing is left to do but to wait for what cannot be judged yet.
SETTLE_POLL_SECONDS = 0.05
#: A session that does not answer a request to cancel is left behind after this long.
PATIENCE_SECONDS = 10.0

#: What an attempt could not do, another one may: blocked, or refused before it began.
TRIED_AGAIN = {Verdict.BLOCKED, Verdict.REFUSED}

ResultT = TypeVar("ResultT")


@dataclass(frozen=True, slots=True)
class Step:
    """One action on one table.

    ``table_oid`` is the table whose locks it needs: two steps of one table never run at once, and a
    step begins when all of earlier ``stage`` are done. ``predicted_seconds`` is ``None`` where
    nobody can tell.
    """

    action: Action
    table_oid: int
    stage: int = 0
    predicted_seconds: float | None = None

    @property
    def key(self) -> str:
        """What the step is noted under, the same in every attempt of a run."""
        return f"{self.action.kind} {self.action.subject}"


StepT = TypeVar("StepT", bound=Step)
StepT_contra = TypeVar("StepT_contra", bound=Step, contravariant=True)


class Trade(Protocol[StepT_contra, ResultT]):
    """How steps of one kind are done and judged."""

    def perform(
        self, session: RepairSession, step: StepT_contra, speed: Speed
    ) -> ResultT | Outcome:
        """Do one step, in a thread of its own; an outcome where it could not be done.

        Lets :class:`Interrupted`, :class:`SessionLost` and the loss of its session pass, and raises
        nothing else for what concerns its table alone.
        """

    def settle(self, done: Sequence[tuple[StepT_contra, ResultT]]) -> Sequence[Outcome | None]:
        """Measure again and judge, in the calling thread: one outcome for each step.

        ``None`` is for what cannot be judged yet: it comes again, and must be judged in the end.
        """


#: Looks at a session at work, in the calling thread and a few times a second; returns why its
#: statement has to end, or nothing.
Oversee = Callable[[RepairSession], Interrupted | None]


@dataclass(frozen=True, slots=True)
class Work(Generic[StepT]):
    """What came of the steps: outcomes as they ended, and what was left, each with its reason."""

    outcomes: tuple[Outcome, ...]
    left: tuple[tuple[StepT, str], ...]
    harm: Harm


@dataclass(slots=True)
class _Begun(Generic[StepT]):
    """A step at work in a session."""

    step: StepT
    session: RepairSession


@dataclass(frozen=True, slots=True)
class _Done(Generic[StepT, ResultT]):
    """A step that has ended and waits for its verification."""

    step: StepT
    result: ResultT
    ended_at: float


class Crew(Generic[StepT, ResultT]):
    """Does steps in up to ``jobs`` sessions. ``kind`` shows in the names of its sessions.

    Without ``gives_way`` others wait until a statement ends: for a lock that a person agreed to.
    """

    def __init__(
        self,
        job: Job[DatabaseTarget, Any],
        watch: Watch,
        trade: Trade[StepT, ResultT],
        limits: TimeLimits,
        *,
        kind: str,
        jobs: int,
        gives_way: bool = True,
        oversee: Oversee | None = None,
    ) -> None:
        self._job = job
        self._watch = watch
        self._trade = trade
        self._limits = limits
        self._kind = kind
        self._jobs = jobs
        self._gives_way = gives_way
        self._oversee = oversee
        self._sessions = ExitStack()
        self._idle: list[RepairSession] = []
        self._begun: dict[Future[ResultT | Outcome], _Begun[StepT]] = {}
        self._pending: deque[StepT] = deque()
        self._tries: dict[str, int] = {}
        self._unsettled: list[_Done[StepT, ResultT]] = []
        self._settled_at = time.monotonic()
        self._outcomes: list[Outcome] = []
        self._left: list[tuple[StepT, str]] = []
        self._harm = Harm()
        self._standing_since: float | None = None
        self._server_started_at = server_started_at(watch.conn)
        self._total = 0

    def work(self, steps: Sequence[StepT]) -> Work[StepT]:
        """Do the steps in their order, those that an earlier attempt has done left out.

        What stood in the way of one then (a lock, an old transaction) may be gone: it is tried again.
        Raises what the progress raises (cancelled, lease lost) and :class:`TargetUnavailable` where
        the server goes away; its own statements are ended before, and what was done is noted.
        """
        done = {k: o for k, o in self._job.steps.done().items() if o.verdict not in TRIED_AGAIN}
        self._outcomes = [done[step.key] for step in steps if step.key in done]
        self._pending.extend(sorted((s for s in steps if s.key not in done), key=lambda s: s.stage))
        self._total = len(steps)
        with self._watch.lookout.on_duty(self._limits.over, gives_way=self._gives_way):
            self._work_off()
        self._watch.enter_into(self._harm)
        self._report_progress()
        return Work(tuple(self._outcomes), tuple(self._left), self._harm)

    def _work_off(self) -> None:
        """Do what is pending; when this ends, however, nothing of ours is at work."""
        pool = ThreadPoolExecutor(self._jobs, thread_name_prefix=self._kind)
        try:
            while self._pending or self._begun:
                self._begin(pool)
                self._wait()
            self._settle_all()
        except BaseException as error:
            self._end_all(is_stopped=not isinstance(error, (psycopg2.Error, TargetUnavailable)))
            raise
        finally:
            pool.shutdown(wait=False, cancel_futures=True)
            self._sessions.close()

    def _begin(self, pool: ThreadPoolExecutor) -> None:
        """Begin as many steps as pace, time and tables allow."""
        while self._pending and len(self._begun) < min(self._jobs, self._watch.pace.sessions):
            reason = self._limits.over()
            if reason:
                self._leave_all(reason)
                return
            step = self._next()
            if step is None:
                return
            reason = self._limits.too_long(step.predicted_seconds)
            if reason:
                self._left.append((step, reason))
                continue
            session = self._session()
            if session is None:
                self._pending.appendleft(step)
                return
            # After its session was opened: should this process stop between here and the statement,
            # whoever takes the run over ends the session first.
            self._job.progress.check()
            speed = speed_for(self._watch.pace, step.predicted_seconds)
            self._tries[step.key] = self._tries.get(step.key, 0) + 1
            future = pool.submit(self._trade.perform, session, step, speed)
            self._begun[future] = _Begun(step, session)
        self._stand_still()

    def _next(self) -> StepT | None:
        """Take the first step whose table is free and whose stage has come."""
        busy = {begun.step.table_oid for begun in self._begun.values()}
        stages = [begun.step.stage for begun in self._begun.values()]
        stage = min([*stages, self._pending[0].stage])
        for number, step in enumerate(self._pending):
            if step.stage > stage:
                return None
            if step.table_oid not in busy:
                del self._pending[number]  # near the front: no more tables are busy than jobs
                return step
        return None

    def _session(self) -> RepairSession | None:
        """Return a session that is free; ``None`` where the server gives us no further one."""
        while self._idle:
            session = self._idle.pop()
            if not session.conn.closed:
                return session
        try:
            conn = self._sessions.enter_context(
                repair_session(
                    self._job.target,
                    self._kind,
                    statement_timeout_seconds=self._limits.statement_timeout_seconds,
                )
            )
        except TargetUnavailable:
            if not self._begun:
                raise
            return None  # no connection is left for us: those that we have go on
        session = RepairSession(conn)
        self._watch.lookout.watch_over(session)
        return session

    def _stand_still(self) -> None:
        """Count the time in which nothing may begin, and give up after the longest wait."""
        now = time.monotonic()
        if self._begun or not self._pending or self._watch.pace.sessions:
            self._standing_since = None
            return
        if self._standing_since is None:
            self._standing_since = now
            if self._watch.pace.reason not in self._harm.reasons:
                self._harm.reasons.append(self._watch.pace.reason)
        longest = self._job.target.pacing.longest_wait_seconds
        if now - self._standing_since >= longest:
            waited = seconds_in_words(longest)
            self._leave_all(f"no quieter moment came in {waited}: {self._watch.pace.reason}")

    def _wait(self) -> None:
        """Wait for the end of a step or the time of the next look, and do what is due."""
        self._watch.lookout.check()
        timeout = max(0.0, self._watch.seconds_to_next_look)
        if self._begun:
            finished, _ = wait(self._begun, timeout=timeout, return_when=FIRST_COMPLETED)
            for future in finished:
                self._take(future)
        elif self._pending:
            time.sleep(timeout)
            self._harm.waited_seconds += timeout
        if self._watch.seconds_to_next_look <= 0:
            self._look()

    def _take(self, future: "Future[ResultT | Outcome]") -> None:
        """Note what came of a step."""
        begun = self._begun.pop(future)
        self._idle.append(begun.session)
        try:
            result = future.result()
        except Interrupted as interrupted:
            self._again_or_left(begun.step, interrupted)
        except SessionLost as lost:
            self._lost(begun.step, lost)
        except psycopg2.Error as error:
            if not connection_was_lost(begun.session.conn, error):
                raise
            self._lost(begun.step, SessionLost.of(begun.session.conn, error))
        else:
            self._keep(begun.step, result)

    def _keep(self, step: StepT, result: ResultT | Outcome) -> None:
        """Note an outcome; put what has to be verified first aside."""
        if isinstance(result, Outcome):
            self._note(step, result)
        else:
            self._unsettled.append(_Done(step, result, time.monotonic()))

    def _again_or_left(self, step: StepT, interrupted: Interrupted) -> None:
        if interrupted.end is not End.GAVE_WAY:
            self._left.append((step, interrupted.reason))
            return
        self._harm.gave_way += 1
        if self._tries[step.key] < TRIES:
            self._put_back(step)
        else:
            self._note(step, Outcome(step.action, Verdict.REFUSED, interrupted.reason))

    def _lost(self, step: StepT, lost: SessionLost) -> None:
        """Try a step again whose connection was cut, but nothing that somebody has ended by hand."""
        if self._noted_as_ended(step, lost):
            return
        if self._tries[step.key] < TRIES:
            self._put_back(step)
            return
        sentence = f"the session was ended each of {TRIES} times: {lost}"
        self._note(step, Outcome(step.action, Verdict.FAILED, sentence))

    def _noted_as_ended(self, step: StepT, lost: SessionLost) -> bool:
        """Note a step that somebody has ended by hand; tell whether it was that."""
        by_hand = was_ended_by_hand(lost, self._job.target, self._server_started_at)
        if by_hand:
            sentence = f"somebody ended its session ({lost}), and it is not begun again by itself"
            self._note(step, Outcome(step.action, Verdict.FAILED, sentence))
        return by_hand

    def _put_back(self, step: StepT) -> None:
        """Let a step come again after the others of its stage."""
        later = (n for n, other in enumerate(self._pending) if other.stage > step.stage)
        self._pending.insert(next(later, len(self._pending)), step)

    def _look(self) -> None:
        """Look at the load, at what is at work, and at how far we are."""
        self._watch.look([begun.session.pid for begun in self._begun.values()])
        if self._oversee is not None:
            for begun in self._begun.values():
                interruption = self._oversee(begun.session)
                if interruption is not None:
                    begun.session.interrupt(interruption)
        if time.monotonic() - self._settled_at >= SETTLE_SECONDS:
            self._settle(ended_before=time.monotonic() - SETTLE_SECONDS)
        self._report_progress()

    def _report_progress(self) -> None:
        """Say how far we are. Raises what the progress raises."""
        phases = []
        for begun in self._begun.values():
            progress = self._watch.progress_of(begun.session.pid)
            detail = f" ({progress.in_words})" if progress else ""
            phases.append(f"{begun.step.key}{detail}")
        if not phases and self._pending:
            phases = [f"waiting: {self._watch.pace.reason}"]
        done = len(self._outcomes) + len(self._unsettled) + len(self._left)
        phase = "; ".join(phases) or "done"
        self._job.progress.update(done, self._total, phase=phase, unit="steps")

    def _settle(self, ended_before: float = math.inf) -> None:
        """Verify what was done since the last time, and note it."""
        self._settled_at = time.monotonic()
        done = [each for each in self._unsettled if each.ended_at <= ended_before]
        if not done:
            return
        self._unsettled = self._unsettled[len(done) :]  # they stand in the order of their end
        outcomes = self._trade.settle([(each.step, each.result) for each in done])
        judged = list(zip(done, outcomes, strict=True))
        self._unsettled[:0] = [each for each, outcome in judged if outcome is None]
        for each, outcome in judged:
            if outcome is not None:
                self._note(each.step, outcome)

    def _settle_all(self) -> None:
        """Verify and note the rest, waiting for what cannot be judged yet: nothing is at work."""
        self._settle()
        while self._unsettled:
            time.sleep(SETTLE_POLL_SECONDS)
            self._settle()

    def _note(self, step: StepT, outcome: Outcome) -> None:
        self._outcomes.append(outcome)
        self._job.steps.record(step.key, outcome)

    def _leave_all(self, reason: str) -> None:
        self._left += [(step, reason) for step in self._pending]
        self._pending.clear()

    def _end_all(self, *, is_stopped: bool) -> None:
        """End every statement of ours and note what was done.

        Sessions of a run that ``is_stopped`` are ended by the engine, too: that is nobody's hand.
        """
        self._pending.clear()
        for begun in self._begun.values():
            begun.session.interrupt(Interrupted(End.STOPPED, "the run was stopped"))
        finished, _ = wait(self._begun, timeout=PATIENCE_SECONDS)
        for future in finished:
            begun = self._begun.pop(future)
            failure = future.exception()
            if failure is None:
                self._keep(begun.step, future.result())
            elif isinstance(failure, SessionLost) and not is_stopped:
                self._noted_as_ended(begun.step, failure)
        for begun in self._begun.values():
            begun.session.abandon()
        self._settle_all()
