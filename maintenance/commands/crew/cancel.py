"""``maintenance cancel``: end a run that waits, and stop one that is at work."""

import argparse
from typing import Any

from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.find_runs import run_named
from maintenance.commands.crew.person import person_at_the_terminal
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.crew.watching import StillGoing, watch
from maintenance.commands.exit_codes import ExitCode
from maintenance.core import ledger
from maintenance.core.recording import record
from maintenance.models import Run, RunState

#: A run at work ends within five seconds of being asked; one whose worker is gone when its lease ends.
PATIENCE_SECONDS = 10.0


def cancel(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Ask the run to stop, wait for that, and print how it ended."""
    run = run_named(options["run"])
    if run.is_finished:
        command.stdout.write(f"{run} ({run.id}) has ended already: {run.state}.")
        return ExitCode.HEALTHY
    document = ledger.request_cancel(run, person_at_the_terminal())
    if document is not None:
        record(run, document)
    try:
        run = watch(run, command.stderr.write, PATIENCE_SECONDS)
    except StillGoing:
        command.stdout.write(_still_there(Run.objects.get(id=run.id)))
        return ExitCode.NOT_MEASURED
    command.stdout.write(f"{run} ({run.id}) is {run.state}. {run.reason}".strip())
    return ExitCode.HEALTHY if run.state == RunState.CANCELLED else ExitCode.FINDINGS


def _still_there(run: Run) -> str:
    return (
        f"{run} ({run.id}) is asked to stop and still {run.state}. A worker that does not respond is"
        f" given up {ledger.LEASE_SECONDS:g} seconds after its last heartbeat, and the run ends then."
    )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", metavar="RUN", help="Its id, or the first characters; see: maintenance runs"
    )


SUBCOMMAND = Subcommand(
    "cancel", "End a run that waits, or stop one that is at work.", _add_arguments, cancel
)
