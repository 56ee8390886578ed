"""How a repair ends: in its next window, or now, with what was done and what was left and why."""

from collections.abc import Sequence
from typing import Any

from maintenance.conf import DatabaseTarget
from maintenance.core.errors import Postponed
from maintenance.core.job import Job
from maintenance.core.plans import Outcome, Verdict
from maintenance.core.wording import counted
from maintenance.postgres.repair.crew import TRIED_AGAIN, StepT, Work
from maintenance.postgres.repair.time_limits import TimeLimits

#: How the sentence about a step begins that had no turn.
LEFT = "left for the next run: "


def outcomes_of_run(
    job: Job[DatabaseTarget, Any], steps: Sequence[StepT], work: Work[StepT], limits: TimeLimits
) -> tuple[Outcome, ...]:
    """Return what all attempts of this run did, then what was left.

    What an earlier attempt did may need nothing any more, and so be none of the ``steps``. Raises
    :class:`Postponed` where the maintenance window closed over the work.
    """
    if work.left and limits.window is not None and limits.window_is_closed:
        raise Postponed(
            f"The maintenance window closed with {counted(len(work.left), 'statement')} left."
            " The run goes on in the next one.",
            limits.window.next_opens_epoch_seconds,
        )
    keys = {step.key for step in steps}
    earlier = (
        outcome
        for key, outcome in job.steps.done().items()
        if key not in keys and outcome.verdict not in TRIED_AGAIN
    )
    left = (Outcome(step.action, Verdict.REFUSED, LEFT + reason) for step, reason in work.left)
    return (*earlier, *work.outcomes, *left)
