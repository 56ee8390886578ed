"""``manage.py profile_queries``: which statements take long on average."""

from typing import Any, ClassVar

from django.core.management.base import CommandParser

from maintenance.commands import arguments, exit_codes
from maintenance.commands.arguments import OutputChoice
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.earlier import ReachableRuns, job_after
from maintenance.commands.exit_codes import ExitCode
from maintenance.commands.measuring import chosen_databases, contained
from maintenance.commands.query_origins import profile_statements
from maintenance.conf import configuration
from maintenance.core.errors import InvalidOptions
from maintenance.postgres.queries.rules import SlowQueryOptions


class Command(MaintenanceCommand):
    """Measures without changing anything; safe at any hour."""

    help = (
        "Rank the statements that take long on average, from pg_stat_statements. Reads only, and"
        "\nnever resets the statistics.\n\n"
        "The figures cover the time since the last run of the task review_slow_queries, or since"
        "\nthe statistics began where there was none. Beside each stand the lines of code that send it,"
        "\nwhere the query profiler logs, and the server's plan without values (PostgreSQL 16)."
    )
    examples: ClassVar = (
        "profile_queries --min-duration 100",
        "profile_queries --min-duration 20 --limit 50 --database default --format markdown",
    )

    def add_own_arguments(self, parser: CommandParser) -> None:
        """Add the bounds, and what every measuring command takes."""
        parser.add_argument(
            "--min-duration",
            metavar="MS",
            default=None,
            help="name statements from this many milliseconds a call on"
            " (default: thresholds.slow_query_mean_ms)",
        )
        parser.add_argument(
            "--limit",
            metavar="N",
            default=None,
            help="name so many at most (default: thresholds.slow_query_limit)",
        )
        arguments.add_database_argument(parser)
        arguments.add_fail_on_argument(parser)
        arguments.add_output_arguments(parser)

    def run_command(self, options: dict[str, Any]) -> ExitCode:
        """Rank the statements of each database and print one verdict over all."""
        choice = OutputChoice.of(options)
        fail_on = arguments.fail_on(options)
        chosen = SlowQueryOptions(
            minimum_mean_ms=_positive("--min-duration", options["min_duration"]),
            limit=_count("--limit", options["limit"]),
        )
        databases = chosen_databases(configuration(), options["database"])
        earlier = ReachableRuns(self.note)
        reports = [
            report
            for name, target in databases.items()
            for report in contained(
                f"Slow statements of {name}",
                name,
                profile_statements,
                job_after(earlier, "review_slow_queries", name, target, chosen),
                configuration().thresholds,
                configuration().performance_log,
            )
        ]
        self.publish_reports(f"Slow statements of {', '.join(databases)}", reports, choice)
        return exit_codes.of_reports({"queries": reports}, fail_on, each_is_required=True)


def _positive(option: str, text: str | None) -> float | None:
    """Read a number above 0. Raises ``InvalidOptions`` with what was given."""
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value < float("inf"):
        raise InvalidOptions(f"{option} takes a number above 0, not {text!r}.")
    return value


def _count(option: str, text: str | None) -> int | None:
    value = _positive(option, text)
    if value is not None and value != int(value):
        raise InvalidOptions(f"{option} takes a whole number, not {text!r}.")
    return None if value is None else int(value)
