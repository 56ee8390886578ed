"""Giving columns larger statistics targets, on trial: kept where estimates get better by it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from maintenance.core.plans import Outcome, Verdict, planned
from maintenance.core.reports import FollowUp, Report
from maintenance.postgres.connection import connect
from maintenance.postgres.estimates.plan import (
    RENEW,
    SET,
    TAKE_BACK,
    USE,
    ColumnStep,
    Plan,
    StatisticsJob,
    plan_of,
)
from maintenance.postgres.estimates.report import left_on_trial, statistics_report
from maintenance.postgres.estimates.trade import ColumnTrade, effect_of
from maintenance.postgres.estimates.trial import Trial
from maintenance.postgres.repair.crew import Crew, Work
from maintenance.postgres.repair.ending import outcomes_of_run
from maintenance.postgres.repair.harm import Harm
from maintenance.postgres.repair.sessions import watching
from maintenance.postgres.repair.time_limits import TimeLimits, binding_window
from maintenance.postgres.sql_files import query
from maintenance.postgres.tuning.trial import Judgement
from maintenance.postgres.vacuum.run import refuse_standby

#: What could not be carried out (a lock was held) is tried again after this long, and what turned out to
#: be of no use is taken back then.
TRY_AGAIN_SECONDS = 3600.0


def tune_statistics(job: StatisticsJob) -> Report:
    """Begin trials of larger statistics targets, and judge those whose time is over.

    A trial lives in the state of this task's reports, and a follow-up run comes at its end. Raises
    :class:`Skipped` on a standby, :class:`UnknownName` for a column that does not exist,
    :class:`Postponed` where the maintenance window closed over it, and what :func:`connect` raises.
    """
    trials = _trials(job)
    with connect(job.target, purpose="tuning") as conn:
        refuse_standby(conn)
        [clock] = query(conn, "server_clock")
        plan = plan_of(conn, job, trials, clock["now_at"])
    done, standing, follow_up = _Done(), trials, None
    if job.options.dry_run:
        done = _Done(planned(tuple(step.action for step in plan.steps)))
    else:
        if plan.steps or job.steps.done():
            done = _apply(job, plan, clock["now_at"])
        standing = _standing(plan, done.outcomes, clock["now_at"])
        follow_up = _follow_up(job, standing, clock["now_at"])
    return statistics_report(
        plan,
        [*done.outcomes, *plan.refused],
        standing,
        done.harm,
        job.target.pacing,
        follow_up=follow_up,
    )


@dataclass(frozen=True, slots=True)
class _Done:
    outcomes: Sequence[Outcome] = ()
    harm: Harm = field(default_factory=Harm)


def _trials(job: StatisticsJob) -> list[Trial]:
    """Return the trials that stand: of earlier runs, and those that an earlier attempt began."""
    trials = [Trial.from_json(body) for body in job.previous_state.get("trials", ())]
    known = {trial.place for trial in trials}
    return [*trials, *(t for t in _begun(job.steps.done().values()) if t.place not in known)]


def _begun(outcomes: Iterable[Outcome]) -> list[Trial]:
    return [Trial.from_json(o.after["trial"]) for o in outcomes if "trial" in o.after]


def _apply(job: StatisticsJob, plan: Plan, now: float) -> _Done:
    """Do the plan in three parts, each on what the one before has measured."""
    limits = TimeLimits.starting_now(
        window=binding_window(job), statement_timeout_seconds=job.options.analyze_limit_seconds
    )
    with watching(job, 1) as watch:
        trade = ColumnTrade(watch.conn, now=now, trial_seconds=job.options.trial_days * 86_400)
        crew: Crew[ColumnStep, float] = Crew(job, watch, trade, limits, kind="tuning", jobs=1)
        outcomes: list[Outcome] = []
        try:
            work = crew.work(plan.renewals)
            outcomes += work.outcomes
            trade.before = _by_subject(work.outcomes, RENEW)
            work = crew.work([s for s in plan.changes if _has_its_turn(s, trade.before)])
            outcomes += work.outcomes
            changed = {*_by_subject(outcomes, SET), *_by_subject(outcomes, TAKE_BACK)}
            work = crew.work([s for s in plan.uses if s.is_owed or s.action.subject in changed])
            outcomes += work.outcomes
        except BaseException:
            # A run that is cancelled has no report of its own, and the next one does not know of these.
            begun = [*_begun(job.steps.done().values()), *trade.begun]
            job.loose_ends.note(left_on_trial(begun), None)
            raise
    whole = Work(tuple(outcomes), work.left, work.harm)
    return _Done(outcomes_of_run(job, plan.steps, whole, limits), work.harm)


def _by_subject(outcomes: Iterable[Outcome], kind: str) -> Mapping[str, Outcome]:
    """Return those of one kind that worked, by their columns."""
    return {
        o.action.subject: o
        for o in outcomes
        if o.action.kind == kind and o.verdict is Verdict.WORKED
    }


def _has_its_turn(step: ColumnStep, renewed: Mapping[str, Outcome]) -> bool:
    return step.action.kind == TAKE_BACK or step.action.subject in renewed


def _standing(plan: Plan, outcomes: Sequence[Outcome], now: float) -> list[Trial]:
    """Return the trials that go on after this run."""
    used = {o.action.subject: o for o in outcomes if o.action.kind == USE}
    trials = {trial.place: trial for trial in [*plan.going_on, *_begun(outcomes)]}
    standing = [_with(trial, used.get(trial.column), now) for trial in trials.values()]
    taken_back = _by_subject(outcomes, TAKE_BACK)
    tried = {step.action.subject for step in plan.changes if step.action.kind == TAKE_BACK}
    for column, (trial, judgement, _) in plan.judged.items():
        if judgement is Judgement.GO_ON or column in tried - taken_back.keys():
            standing.append(trial)  # a lock was in the way: the next run does it
    return standing


def _with(trial: Trial, used: Outcome | None, now: float) -> Trial:
    """Return a trial with what came of the ANALYZE that gives it its statistics."""
    if used is None or trial.after is not None:
        return trial
    if used.verdict is Verdict.WORKED:
        effect, seconds = effect_of(used)
        return trial.with_statistics(effect, seconds, now)
    if used.verdict in {Verdict.FAILED, Verdict.NO_GAIN}:
        return trial.failed(used.sentence, now)
    return trial


def _follow_up(job: StatisticsJob, standing: Sequence[Trial], now: float) -> FollowUp | None:
    """Ask for a run at the end of the first trial, and soon for one that has no statistics yet."""
    if not standing:
        return None
    ends_at = min(now if trial.after is None else trial.ends_at for trial in standing)
    options = {"judge_only": True, "analyze_limit_seconds": job.options.analyze_limit_seconds}
    return FollowUp(options, max(ends_at - now, TRY_AGAIN_SECONDS))
