"""``up --once``: the named checklists now, through the real broker and workers."""

import time
from collections.abc import Sequence

from django.db import DatabaseError, connection

from maintenance.commands.crew.watching import waiting_line
from maintenance.conf import configuration
from maintenance.core.attention.delivering import SENDER, start_delivery
from maintenance.core.errors import LostLease
from maintenance.core.redaction import redact
from maintenance.core.reports import Report
from maintenance.core.runs import ledger
from maintenance.core.runs.dispatch import mend
from maintenance.core.scheduling.scheduler import MEND_SECONDS
from maintenance.models import Run, RunState
from service.up.checklists import ChecklistPlan, current, plan_checklists, send
from service.up.errors import StopRequested
from service.up.output import Output
from service.up.progress_view import View, view_for
from service.up.supervisor import Supervisor

WATCH_SECONDS = 0.25
#: What the last runs have to tell leaves within seconds; a mail server that is away is not waited for.
MESSAGES_SECONDS = 15.0


class ChecklistRunner:
    """Sends the runs of one checklist after the other and waits for them.

    Beat is not running beside it, so the mending of lost runs is done here.
    """

    def __init__(self, supervisor: Supervisor, output: Output) -> None:
        self._supervisor = supervisor
        self._output = output
        self._mended_at = time.monotonic()
        self.runs: list[Run] = []

    def run(self, names: Sequence[str]) -> None:
        """Run the checklists in the given order, each complete before the next begins.

        A run that was postponed for long stays queued, and is told of.
        The order matters: what a later one changes (``vacuum_analyze``) was measured before.
        Raises ``MaintenanceError`` where a line of a checklist cannot be sent at all.
        """
        for plan in plan_checklists(names, configuration()):
            self._run_one(plan)
        self._let_messages_leave()

    def _run_one(self, plan: ChecklistPlan) -> None:
        for planned, earlier in plan.repeats:
            self._output.say(f"{plan.name}: {planned} was already run for the {earlier} checklist")
        runs = send(plan)
        first = len(self.runs)
        self.runs += runs
        if not runs:
            return
        try:
            with view_for(self._output, plan.name) as view:
                self._supervisor.wait_until(
                    lambda: self._have_ended(first, view), float("inf"), WATCH_SECONDS
                )
        except StopRequested:
            self._cancel_waiting(first)
            raise
        self._tell_of_waiting(first)

    def _let_messages_leave(self) -> None:
        """Wait a little for the run that sends what the others had to tell."""
        if not configuration().notifications.channels:
            return
        start_delivery()
        sending = Run.objects.filter(task=SENDER, state__in=(RunState.QUEUED, RunState.RUNNING))
        self._supervisor.wait_until(lambda: not sending.exists(), MESSAGES_SECONDS, WATCH_SECONDS)

    def _have_ended(self, first: int, view: View) -> bool:
        try:
            if time.monotonic() - self._mended_at > MEND_SECONDS:
                self._mended_at = time.monotonic()
                mend()
            self.runs[first:] = current(self.runs[first:])
        except DatabaseError as error:
            # A restarting server; the supervisor says so, and the next look may find it.
            self._output.say(f"the ledger cannot be read just now: {redact(str(error)).strip()}")
            connection.close()
            return False
        view.update(self.runs[first:])
        return all(run.is_finished or run.waits_for_long for run in self.runs[first:])

    def _tell_of_waiting(self, first: int) -> None:
        for run in self.runs[first:]:
            if run.waits_for_long:
                self._output.say(f"{run} {waiting_line(run)} A worker takes it up then.")

    def _cancel_waiting(self, first: int) -> None:
        """End what no worker has taken yet, so that the next start does not begin with it."""
        reason = "Cancelled: up was stopped before a worker took this run."
        report = Report(title="Cancelled", summary=reason)
        for run in current(self.runs[first:]):
            if run.state == RunState.QUEUED:
                try:
                    ledger.finish(run, RunState.CANCELLED, report, reason)
                except LostLease:
                    continue  # a worker has just ended it
        self.runs[first:] = current(self.runs[first:])


def outcome_sentence(runs: Sequence[Run], started_at: float) -> str:
    """Return how many runs ended in which state, and in what time."""
    counts = {state: sum(run.state == state for run in runs) for state in RunState}
    parts = [f"{count} {state.label}" for state, count in counts.items() if count]
    return f"{len(runs)} runs in {time.monotonic() - started_at:.0f} s: {', '.join(parts)}"
