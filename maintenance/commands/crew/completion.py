"""``maintenance completion``: a script that teaches a shell the words of this command."""

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

from maintenance.commands.arguments import FAIL_ON
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.completion import FILES, SHELLS, places, script
from maintenance.commands.crew.recommend import KINDS
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.exit_codes import ExitCode
from maintenance.conf import Configuration, configuration
from maintenance.core.runs.registry import TargetKind, all_tasks
from maintenance.core.suggestions import require_known
from maintenance.models import RunState
from maintenance.reports.formats import FORMATS
from maintenance.runbooks import RUNBOOKS


def print_script(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print the script. Task and target names are those of now."""
    shell = require_known("shell", options["shell"], SHELLS)
    words = known_words(configuration())
    found = places(command.parser, words, ("maintenance",))
    command.stdout.write(script(shell, found), ending="")
    return ExitCode.HEALTHY


def known_words(config: Configuration) -> Mapping[str, Sequence[str]]:
    """Return what may stand for each ``metavar`` of the parser."""
    kinds = [kind for kind in TargetKind if kind is not TargetKind.NONE]
    return {
        "TASK": sorted(task.short_name for task in all_tasks()),
        "TARGET": sorted({name for kind in kinds for name in kind.targets(config)}),
        "RUN": [f"latest:{task.short_name}" for task in all_tasks()],
        "STATE": RunState.values,
        "SEVERITY": [severity.value for severity in FAIL_ON],
        "FORMAT": list(FORMATS),
        "SYMPTOM": list(RUNBOOKS),
        "SERVER": KINDS,
        "SHELL": SHELLS,
        "FILE": [FILES],
        "FOLDER": [FILES],
    }


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("shell", metavar="SHELL", help=f"{', '.join(SHELLS)}.")


SUBCOMMAND = Subcommand(
    "completion",
    "A script for bash, zsh or fish that completes subcommands, options, tasks and targets.",
    _add_arguments,
    print_script,
)
