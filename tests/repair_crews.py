"""A crew at work on statements that a test names."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from psycopg2 import sql

from maintenance.conf import DatabaseTarget, Pacing
from maintenance.core.job import Job
from maintenance.core.options import NoOptions
from maintenance.core.plans import Action, Outcome, Verdict
from maintenance.postgres.repair.crew import Crew, Step, Work
from maintenance.postgres.repair.pacing import Speed
from maintenance.postgres.repair.session import RepairSession
from maintenance.postgres.repair.sessions import watching
from maintenance.postgres.repair.time_limits import TimeLimits
from tests.postgres_clients import ask

RUN_ID = "0d9f4f0e-3d1c-4a55-9a55-2a1b9f6f7c10"


@dataclass
class Statements:
    """A trade whose steps run their action's statement as it stands."""

    begun: list[str] = field(default_factory=list)

    def perform(self, session: RepairSession, step: Step, speed: Speed) -> str | Outcome:
        self.begun.append(step.action.subject)
        session.execute(sql.SQL(step.action.statement))
        return step.action.subject

    def settle(self, done: Sequence[tuple[Step, str]]) -> list[Outcome | None]:
        return [Outcome(step.action, Verdict.WORKED) for step, _ in done]


class Noted:
    """Steps that are kept in memory, as the ledger keeps them."""

    def __init__(self, *done: Outcome) -> None:
        self._done = {f"{o.action.kind} {o.action.subject}": o for o in done}

    def done(self) -> dict[str, Outcome]:
        return dict(self._done)

    def record(self, key: str, outcome: Outcome) -> None:
        self._done[key] = outcome


def step(subject: str, statement: str, *, table: int = 0, stage: int = 0, **more: Any) -> Step:
    """Return a step that runs ``statement``."""
    return Step(Action("run", subject, statement, "a test"), table, stage, **more)


def do(
    url: str,
    plan: Sequence[Step],
    *,
    trade: Statements | None = None,
    pacing: Pacing | None = None,
    limits: TimeLimits | None = None,
    **job: Any,
) -> Work[Step]:
    """Have a crew of two do the steps; ``job`` are further fields of the job."""
    target = DatabaseTarget(url=url, pacing=pacing or Pacing())
    work = Job("site", target, NoOptions(), run_id=RUN_ID, **job)
    with watching(work, 2) as watch:
        crew: Crew[Step, str] = Crew(
            work, watch, trade or Statements(), limits or TimeLimits(), kind="test", jobs=2
        )
        return crew.work(plan)


def our_sessions(url: str) -> list[tuple[Any, ...]]:
    """Return the process ids of sessions of ours."""
    return ask(url, "SELECT pid FROM pg_stat_activity WHERE application_name LIKE 'maintenance:%%'")
