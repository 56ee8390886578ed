"""``manage.py analyze_db_performance``: what makes a PostgreSQL database slow."""

from typing import Any, ClassVar

from django.core.management.base import CommandParser

from maintenance.commands import arguments, exit_codes
from maintenance.commands.arguments import OutputChoice
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.earlier import ReachableRuns
from maintenance.commands.exit_codes import ExitCode
from maintenance.commands.measuring import chosen_databases, contained
from maintenance.conf import configuration
from maintenance.core.errors import InvalidOptions
from maintenance.core.reports import Report
from maintenance.postgres.analyses import ANALYSES
from maintenance.postgres.checks import run_analyses


class Command(MaintenanceCommand):
    """Measures without changing anything; safe at any hour."""

    help = (
        "Analyze what makes a PostgreSQL database slow. Reads only.\n\n"
        f"Analyses: {', '.join(ANALYSES)}; all of them where none is named."
    )
    examples: ClassVar = (
        "analyze_db_performance",
        "analyze_db_performance --analysis queries long-running",
        "analyze_db_performance --analysis bloat --database default --format json",
        "analyze_db_performance --analysis bloat --exact",
    )

    def add_own_arguments(self, parser: CommandParser) -> None:
        """Add the analyses, and what every measuring command takes."""
        parser.add_argument(
            "--analysis",
            nargs="+",
            action="extend",
            metavar="NAME",
            help=f"One or more of {', '.join(ANALYSES)}.",
        )
        parser.add_argument(
            "--exact",
            action="store_true",
            help="Of bloat: read the largest tables and indexes whole, for a minute and a half each."
            " Needs the extension pgstattuple.",
        )
        arguments.add_database_argument(parser)
        arguments.add_fail_on_argument(parser)
        arguments.add_output_arguments(parser)

    def run_command(self, options: dict[str, Any]) -> ExitCode:
        """Run each analysis on each database and print one verdict over all."""
        choice = OutputChoice.of(options)
        fail_on = arguments.fail_on(options)
        names = arguments.known_names("analysis", options["analysis"], list(ANALYSES))
        if options["exact"] and "bloat" not in names:
            raise InvalidOptions("--exact is for bloat: add bloat to --analysis, or leave it out.")
        databases = chosen_databases(configuration(), options["database"])
        earlier = ReachableRuns(self.note)
        thresholds = earlier.configuration().thresholds
        answers: dict[str, tuple[Report, ...]] = dict.fromkeys(names, ())
        reports: list[Report] = []
        for target_name, target in databases.items():
            found = contained(
                f"Database {target_name}",
                target_name,
                run_analyses,
                target_name,
                target,
                names,
                thresholds,
                earlier,
                exact=options["exact"],
            )
            reports += found
            # A database that is down answers with one report, which stands for every analysis.
            per_name = found if len(found) == len(names) else found * len(names)
            for name, report in zip(names, per_name, strict=True):
                answers[name] = (*answers[name], report)
        title = f"Database performance of {', '.join(databases)}"
        self.publish_reports(title, reports, choice)
        return exit_codes.of_reports(answers, fail_on, each_is_required=bool(options["analysis"]))
