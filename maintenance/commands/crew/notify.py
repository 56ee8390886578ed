"""``maintenance notify``: send what waits, from this process; with ``--test`` a test first."""

import argparse
from typing import Any

from maintenance.commands import arguments
from maintenance.commands.arguments import OutputChoice, add_output_arguments
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.find_runs import document_of
from maintenance.commands.crew.person import person_at_the_terminal
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.exit_codes import ExitCode, of_run
from maintenance.core.runs import ledger
from maintenance.core.runs.in_process import work_here
from maintenance.core.runs.ledger import Origin
from maintenance.core.runs.registry import task_named
from maintenance.models import Trigger
from maintenance.reports.publication import of_document


def notify(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Send every message that is due; the exit code is 1 where something could not be sent."""
    from maintenance.notifications.delivery import write_test  # noqa: PLC0415 - mail's libraries

    choice = OutputChoice.of(options)
    fail_on = arguments.fail_on(options)
    person = person_at_the_terminal()
    if options["test"]:
        write_test(person)
    origin = Origin(Trigger.CLI, actor=person)
    run = work_here(ledger.create_run(task_named("send_notifications"), "", {}, origin))
    document = document_of(run)
    command.publish(of_document(document), choice)
    return of_run(run.state, document.report, fail_on, document.severity)


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--test", action="store_true", help="Write a test message for each channel first."
    )
    arguments.add_fail_on_argument(parser)
    add_output_arguments(parser)


SUBCOMMAND = Subcommand("notify", "Send the messages that wait, and tests.", _add_arguments, notify)
