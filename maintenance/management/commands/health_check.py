"""``manage.py health_check``: is everything up that the site and its maintenance stand on?"""

from dataclasses import replace
from typing import Any, ClassVar

from django.core.management.base import CommandParser

from maintenance.commands import arguments, exit_codes
from maintenance.commands.arguments import OutputChoice
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.earlier import ReachableRuns
from maintenance.commands.exit_codes import ExitCode
from maintenance.commands.health.registry import CHECKS, run_checks
from maintenance.commands.health.scope import Scope
from maintenance.commands.measuring import chosen_databases
from maintenance.conf import configuration
from maintenance.core.findings import Severity
from maintenance.core.reports import Report


def _brief(report: Report) -> Report:
    """Leave the verdict of what is in order, without the numbers that show it."""
    if report.severity is not Severity.OK:
        return report
    return replace(report, tables=(), facts={})


class Command(MaintenanceCommand):
    """Measures without changing anything; safe at any hour."""

    help = (
        "Check that everything is up that the site and its maintenance stand on.\n\n"
        + "\n".join(f"  {check.name:15} {check.summary}" for check in CHECKS.values())
        + "\n\nAll of them where none is named. With -v 2, the numbers of what is in order, too."
    )
    examples: ClassVar = (
        "health_check",
        "health_check --check redis_activity",
        "health_check --check celery schedule --fail-on critical --format json",
    )

    def add_own_arguments(self, parser: CommandParser) -> None:
        """Add the checks, and what every measuring command takes."""
        parser.add_argument(
            "--check",
            nargs="+",
            action="extend",
            metavar="NAME",
            help=f"One or more of {', '.join(CHECKS)}.",
        )
        arguments.add_database_argument(parser)
        arguments.add_fail_on_argument(parser)
        arguments.add_output_arguments(parser)

    def run_command(self, options: dict[str, Any]) -> ExitCode:
        """Run each check and print one verdict over all."""
        choice = OutputChoice.of(options)
        fail_on = arguments.fail_on(options)
        names = arguments.known_names("check", options["check"], list(CHECKS))
        databases = chosen_databases(configuration(), options["database"])
        earlier = ReachableRuns(self.note)
        scope = Scope(earlier.configuration(), databases, earlier)
        answers = run_checks(names, scope)
        reports = [report for found in answers.values() for report in found]
        if choice.format_name == "text" and options["verbosity"] < 2:
            reports = [_brief(report) for report in reports]
        self.publish_reports("Health", reports, choice)
        return exit_codes.of_reports(answers, fail_on, each_is_required=bool(options["check"]))
