"""``manage.py maintenance``: tasks, runs, reports, schedules and runbooks at the terminal."""

from typing import Any, ClassVar

from django.core.management.base import CommandParser

from maintenance.commands.base import HelpFormatter, MaintenanceCommand
from maintenance.commands.crew import SUBCOMMANDS
from maintenance.commands.exit_codes import EXPLANATION, ExitCode


class Command(MaintenanceCommand):
    """Hands over to the subcommand."""

    help = "The maintenance crew at the terminal: its tasks, runs, reports, schedules and runbooks."
    examples: ClassVar = (
        "maintenance list",
        "maintenance run check_disk_space",
        "maintenance plan vacuum_analyze --target default",
        "maintenance runs --state failed",
        "maintenance cancel 3f9a12c4",
        "maintenance tail --severity info",
        "maintenance report latest:report_table_bloat",
        "maintenance findings --new",
        "maintenance mute 3f9a12c4 --days 7 --reason 'a new disk is ordered'",
        "maintenance notify --test",
        "maintenance schedules",
        "maintenance calendar --days 30",
        "maintenance proof --since 2026-01-01",
        "maintenance recommend --for postgresql",
        "maintenance diagnose slow-pages",
        "maintenance doctor",
        "maintenance config",
    )

    def add_own_arguments(self, parser: CommandParser) -> None:
        """Add one parser a subcommand."""
        subparsers = parser.add_subparsers(dest="subcommand", required=True, title="subcommands")
        for subcommand in SUBCOMMANDS:
            child = subparsers.add_parser(
                subcommand.name,
                help=subcommand.summary,
                description=subcommand.summary,
                formatter_class=HelpFormatter,
                epilog=EXPLANATION,
            )
            subcommand.add_arguments(child)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run; the doctor without system checks first, since it tells their faults beside all others."""
        if options.get("subcommand") == "doctor":
            options["skip_checks"] = True
        return super().execute(*args, **options)

    def run_command(self, options: dict[str, Any]) -> ExitCode:
        """Run the subcommand."""
        chosen = next(each for each in SUBCOMMANDS if each.name == options["subcommand"])
        return chosen.run(self, options)
