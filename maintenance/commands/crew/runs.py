"""``maintenance runs``: what ran, what runs, what waits."""

import argparse
from typing import Any

from maintenance.commands.arguments import OutputChoice, add_output_arguments, positive_int
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.find_runs import runs_of, short_id
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.exit_codes import ExitCode
from maintenance.core.reports import Report, Table
from maintenance.core.suggestions import require_known
from maintenance.models import Run, RunState
from maintenance.reports.formatting import counted
from maintenance.reports.publication import of_report


def list_runs(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print runs, newest first."""
    choice = OutputChoice.of(options)
    found = runs_of(options["task"], options["target"])
    if options["state"]:
        found = found.filter(state=require_known("state", options["state"], RunState.values))
    runs = list(found[: options["limit"]])
    report = Report(
        title="Runs",
        summary=_summary(runs),
        tables=(Table.of("Newest first", [_row(run) for run in runs]),) if runs else (),
    )
    command.publish(of_report(report), choice)
    return ExitCode.HEALTHY


def _summary(runs: list[Run]) -> str:
    if not runs:
        return "No run fits."
    failed = sum(run.state == RunState.FAILED for run in runs)
    return f"{counted(len(runs), 'run')}, {failed} failed."


def _row(run: Run) -> dict[str, Any]:
    return {
        "id": short_id(run),
        "task": run.short_task,
        "target": run.target,
        "state": run.state,
        "worst": run.severity,
        "trigger": f"{run.trigger} ({run.actor})" if run.actor else run.trigger,
        "queued_at": run.queued_at.isoformat(),
        "took_seconds": run.duration.total_seconds() if run.duration else None,
        "verdict": run.summary or run.reason,
    }


def add_filters(parser: argparse.ArgumentParser) -> None:
    """Add what runs and reports are chosen by."""
    parser.add_argument("--task", metavar="TASK", help="Only of this task.")
    parser.add_argument("--target", metavar="TARGET", help="Only on this target.")
    parser.add_argument(
        "--limit",
        type=positive_int,
        default=20,
        metavar="N",
        help="At most this many; default 20.",
    )


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_filters(parser)
    parser.add_argument(
        "--state", metavar="STATE", help=f"Only in this state: {', '.join(RunState.values)}."
    )
    add_output_arguments(parser)


SUBCOMMAND = Subcommand("runs", "What ran, what runs, what waits.", _add_arguments, list_runs)
