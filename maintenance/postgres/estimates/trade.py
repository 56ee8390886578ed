"""Steps for the sake of single columns: done in a session, and measured after each."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import psycopg2
import psycopg2.errors
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.core.plans import Outcome, Verdict
from maintenance.core.wording import seconds_in_words
from maintenance.postgres.connection import connection_was_lost, reason_of
from maintenance.postgres.estimates.misestimate import Effect, measure_effect, measure_values
from maintenance.postgres.estimates.plan import RENEW, TAKE_BACK, USE, ColumnStep, state_of
from maintenance.postgres.estimates.trial import LEAST_ERROR_FACTOR, Trial
from maintenance.postgres.repair.failures import outcome_of_error
from maintenance.postgres.repair.pacing import Speed
from maintenance.postgres.repair.session import RepairSession
from maintenance.postgres.repair.table_lock import occupied


class ColumnTrade:
    """Does and measures :class:`ColumnStep`. ``conn`` is where it is measured.

    ``now`` is when trials begin, in seconds since the epoch by the server's clock, ``trial_seconds`` how
    long they last.
    """

    def __init__(self, conn: Connection, *, now: float, trial_seconds: float) -> None:
        self._conn = conn
        self._now = now
        self._trial_seconds = trial_seconds
        #: What was measured with statistics of now, by column.
        self.before: Mapping[str, Outcome] = {}
        #: The trials that were begun.
        self.begun: list[Trial] = []

    def perform(
        self,
        session: RepairSession,
        step: ColumnStep,
        speed: Speed,  # noqa: ARG002 - it has one speed
    ) -> float | Outcome:
        """Run the step's statement and return the seconds that it took."""
        # As autovacuum does it: what it takes before and after is to be compared, and lasts.
        session.work_at(Speed.GENTLE)
        with occupied(session.conn, step.table_oid) as occupant:
            if occupant is not None:
                return Outcome(step.action, Verdict.REFUSED, occupant.in_words)
            started = time.monotonic()
            try:
                session.execute(sql.SQL(step.action.statement))
            except psycopg2.Error as error:
                outcome = outcome_of_error(
                    session.conn,
                    step.action,
                    step.table_oid,
                    error,
                    limit="option analyze_limit_seconds",
                )
                return replace(outcome, duration_seconds=time.monotonic() - started)
            return time.monotonic() - started

    def settle(self, done: Sequence[tuple[ColumnStep, float]]) -> list[Outcome]:
        """Read what columns have now, and ask the planner after an ANALYZE."""
        return [
            replace(self._settled(step, seconds), duration_seconds=seconds)
            for step, seconds in done
        ]

    def _settled(self, step: ColumnStep, seconds: float) -> Outcome:
        if step.action.kind in {RENEW, USE}:
            return self._measured(step, seconds)
        present = state_of(self._conn, step.column.oid, step.column.number)
        if present is None:
            return Outcome(step.action, Verdict.REFUSED, "the column was dropped meanwhile")
        if present["own_target"] != step.target:
            sentence = "the column has another target than it was given"
            return Outcome(step.action, Verdict.FAILED, sentence)
        own = present["own_target"]
        words = f"the server's default of {step.column.default_target}" if own is None else own
        if step.action.kind == TAKE_BACK:
            return Outcome(step.action, Verdict.WORKED, f"taken back; its target is now {words}")
        trial = self._trial(step, present["analyzes"])
        self.begun.append(trial)
        return Outcome(
            step.action,
            Verdict.WORKED,
            f"set, on trial; its target is now {words}",
            after={"trial": trial.to_json()},
        )

    def _measured(self, step: ColumnStep, seconds: float) -> Outcome:
        took = f"ANALYZE took {seconds_in_words(seconds)}"
        try:
            sample = measure_values(self._conn, step.column, step.beyond)
            effect = measure_effect(self._conn, step.column, sample) if sample.probes else None
        except psycopg2.Error as error:
            if connection_was_lost(self._conn, error):
                raise
            return Outcome(
                step.action, Verdict.BLOCKED, f"{took}; not measured: {reason_of(error)}"
            )
        if effect is None:
            sentence = f"{took}; no value beyond its list is frequent enough to measure"
            return Outcome(step.action, Verdict.NO_GAIN, sentence)
        sentence = (
            f"{took}; estimates of values beyond the {step.beyond} most common are off"
            f" {effect.error_factor:.1f}-fold, planning takes {effect.planning_ms:.2f} ms"
        )
        verdict = Verdict.WORKED
        if step.action.kind == RENEW and effect.error_factor < LEAST_ERROR_FACTOR:
            # Its statistics were out of date.
            verdict, sentence = Verdict.NO_GAIN, f"{sentence}: good enough without a larger target"
        return Outcome(step.action, verdict, sentence, after=_figures(effect, seconds))

    def _trial(self, step: ColumnStep, analyzes: int) -> Trial:
        before = self.before[step.action.subject]
        effect, seconds = effect_of(before)
        return Trial(
            oid=step.column.oid,
            number=step.column.number,
            column=step.column.qualified_name,
            table=step.column.table_name,
            earlier=step.column.own_target,
            beyond=step.beyond,
            target=step.target or 0,
            undo=step.action.undo,
            before=effect,
            before_analyze_seconds=seconds,
            analyzes=analyzes,
            began_at=self._now,
            ends_at=self._now + self._trial_seconds,
        )


def _figures(effect: Effect, seconds: float) -> dict[str, Any]:
    return {**asdict(effect), "analyze_seconds": seconds}


def effect_of(outcome: Outcome) -> tuple[Effect, float]:
    """Return what was measured after an ANALYZE, and the seconds that it took."""
    figures = dict(outcome.after)
    seconds = float(figures.pop("analyze_seconds"))
    return Effect(**figures), seconds
