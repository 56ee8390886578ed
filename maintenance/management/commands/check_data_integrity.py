"""``manage.py check_data_integrity``: what in a PostgreSQL database is broken or will be."""

from typing import Any, ClassVar, get_args

from django.core.management.base import CommandParser

from maintenance.commands import arguments, exit_codes
from maintenance.commands.arguments import OutputChoice
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.earlier import ReachableRuns, job_after
from maintenance.commands.exit_codes import ExitCode
from maintenance.commands.measuring import chosen_databases, contained
from maintenance.conf import configuration
from maintenance.postgres.integrity.options import READING_SECONDS, IntegrityOptions, Scope
from maintenance.postgres.integrity.review import check_data_integrity


class Command(MaintenanceCommand):
    """Measures without changing anything; safe at any hour."""

    help = (
        "Look for what is broken in a PostgreSQL database, or soon will be. Reads only.\n\n"
        "Invalid indexes, constraints that were never validated and the rows that break them,\n"
        "references of Django models that lead nowhere, duplicates below unique indexes,\n"
        "sequences near their end or behind their columns, migrations that wait, and corruption\n"
        "(by the extension amcheck, where it is installed)."
    )
    examples: ClassVar = (
        "check_data_integrity",
        "check_data_integrity --database default --fail-on critical --format json",
        "check_data_integrity --amcheck heap --seconds 600",
    )

    def add_own_arguments(self, parser: CommandParser) -> None:
        """Add what every measuring command takes."""
        arguments.add_database_argument(parser)
        parser.add_argument(
            "--amcheck",
            choices=get_args(Scope),
            default=IntegrityOptions().amcheck,
            help="What amcheck verifies: btree indexes (the default), tables as well, or nothing.",
        )
        parser.add_argument(
            "--seconds",
            type=arguments.not_negative,
            default=READING_SECONDS,
            metavar="SECONDS",
            help="The time that each subject may spend on reading rows; default %(default)g.",
        )
        arguments.add_fail_on_argument(parser)
        arguments.add_output_arguments(parser)

    def run_command(self, options: dict[str, Any]) -> ExitCode:
        """Check each database and print one verdict over all."""
        choice = OutputChoice.of(options)
        fail_on = arguments.fail_on(options)
        databases = chosen_databases(configuration(), options["database"])
        thresholds = configuration().thresholds
        chosen = IntegrityOptions(amcheck=options["amcheck"], reading_seconds=options["seconds"])
        earlier = ReachableRuns(self.note)
        reports = [
            report
            for name, target in databases.items()
            for report in contained(
                f"Data integrity of {name}",
                name,
                check_data_integrity,
                job_after(earlier, "check_data_integrity", name, target, chosen),
                thresholds,
            )
        ]
        self.publish_reports(f"Data integrity of {', '.join(databases)}", reports, choice)
        return exit_codes.of_reports({"integrity": reports}, fail_on, each_is_required=True)
