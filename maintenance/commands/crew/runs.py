"""``maintenance runs``: what ran, what runs, what waits."""

import argparse
from datetime import datetime
from typing import Any

from django.utils import timezone

from maintenance.commands.arguments import OutputChoice, add_output_arguments, positive_int
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.find_runs import SHOWN_CHARACTERS, runs_of
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.crew.watching import waiting_line
from maintenance.commands.exit_codes import ExitCode
from maintenance.commands.listing import Item, Listing, Row, sign
from maintenance.core.suggestions import require_known
from maintenance.models import Run, RunState
from maintenance.reports.formatting import counted, format_seconds, format_time


def list_runs(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print runs, newest first."""
    choice = OutputChoice.of(options)
    found = runs_of(options["task"], options["target"])
    if options["state"]:
        found = found.filter(state=require_known("state", options["state"], RunState.values))
    runs = list(found[: options["limit"]])
    rows = [run_row(run) for run in runs]
    command.publish_listing(Listing("Runs", _summary(runs), rows, run_item), choice)
    return ExitCode.HEALTHY


def _summary(runs: list[Run]) -> str:
    if not runs:
        return "No run fits."
    failed = sum(run.state == RunState.FAILED for run in runs)
    return f"{counted(len(runs), 'run')}, newest first; {failed} failed."


def run_row(run: Run) -> dict[str, Any]:
    """Return a run as plain values, for tables and for :func:`run_item`."""
    return {
        "id": str(run.id),
        "task": run.short_task,
        "target": run.target,
        "state": run.state,
        "worst": run.severity,
        "trigger": run.trigger,
        "actor": run.actor,
        "queued_at": run.queued_at.isoformat(),
        "finished_at": run.finished_at.isoformat() if run.finished_at else None,
        "took_seconds": run.duration.total_seconds() if run.duration else None,
        "verdict": waiting_line(run) if run.is_postponed else run.summary or run.reason,
    }


def run_item(row: Row) -> Item:
    """Return a run's row in words."""
    name = f"{row['task']}{' on ' if row['target'] else ''}{row['target']}"
    at = datetime.fromisoformat(row["finished_at"] or row["queued_at"])
    facts = [format_time(timezone.localtime(at))]
    if row["took_seconds"] is not None:
        facts.append(format_seconds(row["took_seconds"]))
    facts.append(f"{row['trigger']} ({row['actor']})" if row["actor"] else row["trigger"])
    mark = sign(row["state"], row["worst"])
    head = f"{mark:4} {row['id'][:SHOWN_CHARACTERS]}  {row['state']:9}  {name}"
    return Item(head, tuple(text for text in (", ".join(facts), row["verdict"]) if text))


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
