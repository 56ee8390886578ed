"""What a subcommand is: a name, its arguments, and its work."""

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.exit_codes import ExitCode


@dataclass(frozen=True, slots=True)
class Subcommand:
    """One word after ``manage.py maintenance``."""

    name: str
    summary: str
    add_arguments: Callable[[argparse.ArgumentParser], None]
    run: Callable[[MaintenanceCommand, dict[str, Any]], ExitCode]
