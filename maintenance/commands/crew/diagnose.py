"""``maintenance diagnose``: a symptom measured now, its causes weighed, and the next step."""

import argparse
from typing import Any

from maintenance.commands import arguments
from maintenance.commands.arguments import OutputChoice
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.diagnosing import measure
from maintenance.commands.earlier import ReachableRuns
from maintenance.commands.exit_codes import ExitCode, of_reports, was_measured
from maintenance.commands.health.scope import Scope
from maintenance.commands.measuring import chosen_databases
from maintenance.conf import configuration
from maintenance.core.suggestions import require_known
from maintenance.reports.publication import of_report
from maintenance.runbooks import RUNBOOKS
from maintenance.runbooks.walk import walk


def diagnose(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Walk one runbook and print it; the exit code is its verdict."""
    choice = OutputChoice.of(options)
    fail_on = arguments.fail_on(options)
    runbook = RUNBOOKS[require_known("runbook", options["runbook"], RUNBOOKS)]
    databases = chosen_databases(configuration(), options["database"])
    earlier = ReachableRuns(command.note)
    scope = Scope(earlier.configuration(), databases, earlier)
    answers = measure(runbook.sources, scope, command.note)
    report = walk(runbook, answers)
    command.publish(of_report(report), choice)
    if not any(was_measured(one) for found in answers.values() for one in found):
        return ExitCode.NOT_MEASURED
    return of_reports({runbook.name: [report]}, fail_on, each_is_required=True)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    names = "; ".join(f"{book.name}: {book.title.lower()}" for book in RUNBOOKS.values())
    parser.add_argument("runbook", metavar="SYMPTOM", help=f"{names}.")
    arguments.add_database_argument(parser)
    arguments.add_fail_on_argument(parser)
    arguments.add_output_arguments(parser)


SUBCOMMAND = Subcommand(
    "diagnose",
    "Walk the runbook of a symptom: measure now, weigh each cause, say the next step.",
    _add_arguments,
    diagnose,
)
