"""``manage.py recommend_configuration``: a configuration file that fits machine and load."""

from typing import Any, ClassVar

from django.core.management.base import CommandParser

from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.recommend import add_arguments, recommend
from maintenance.commands.exit_codes import ExitCode


class Command(MaintenanceCommand):
    """The same as ``maintenance recommend``."""

    help = "Print a configuration file that fits this machine and load, each line with its reason."
    examples: ClassVar = (
        "recommend_configuration --for postgresql",
        "recommend_configuration --for postgresql --memory 4GB --cpus 2 --storage ssd --dedicated",
        "recommend_configuration --for redis --role cache --output redis.conf",
    )

    def add_own_arguments(self, parser: CommandParser) -> None:
        """Add those of ``maintenance recommend``."""
        add_arguments(parser)

    def run_command(self, options: dict[str, Any]) -> ExitCode:
        """Print the file."""
        return recommend(self, options)
