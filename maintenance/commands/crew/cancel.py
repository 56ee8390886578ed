"""``maintenance cancel``: end a run that waits, and stop one that is at work."""

import argparse
import json
from typing import Any

from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.find_runs import run_named
from maintenance.commands.crew.person import person_at_the_terminal
from maintenance.commands.crew.runs import run_row
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.crew.watching import StillGoing, watch
from maintenance.commands.exit_codes import ExitCode
from maintenance.core.runs import ledger
from maintenance.core.runs.recording import record
from maintenance.models import Run, RunState

#: A run at work ends within five seconds of being asked; one whose worker is gone when its lease ends.
PATIENCE_SECONDS = 10.0


def cancel(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Ask the run to stop, wait for that, and print how it ended."""
    run = run_named(options["run"])
    as_json = options["json"]
    if run.is_finished:
        _tell(command, run, f"{run} ({run.id}) has ended already: {run.state}.", as_json)
        return ExitCode.HEALTHY
    document = ledger.request_cancel(run, person_at_the_terminal())
    if document is not None:
        record(run, document)
    try:
        run = watch(run, command.stderr.write, PATIENCE_SECONDS)
    except StillGoing:
        run = Run.objects.get(id=run.id)
        _tell(command, run, _still_there(run), as_json)
        return ExitCode.NOT_MEASURED
    _tell(command, run, f"{run} ({run.id}) is {run.state}. {run.reason}".strip(), as_json)
    return ExitCode.HEALTHY if run.state == RunState.CANCELLED else ExitCode.FINDINGS


def _tell(command: MaintenanceCommand, run: Run, sentence: str, as_json: bool) -> None:
    row = {**run_row(run), "verdict": sentence}
    command.stdout.write(json.dumps(row, ensure_ascii=False) if as_json else sentence)


def _still_there(run: Run) -> str:
    return (
        f"{run} ({run.id}) is asked to stop and still {run.state}. A worker that does not respond is"
        f" given up {ledger.LEASE_SECONDS:g} seconds after its last heartbeat, and the run ends then."
    )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "run", metavar="RUN", help="Its id, or the first characters; see: maintenance runs"
    )
    parser.add_argument("--json", action="store_true", help="The run as one JSON object.")


SUBCOMMAND = Subcommand(
    "cancel", "End a run that waits, or stop one that is at work.", _add_arguments, cancel
)
