"""``maintenance config``: every value in force, and who said so."""

import argparse
from collections.abc import Sequence
from typing import Any

from django.conf import settings

from maintenance.commands.arguments import OutputChoice, add_output_arguments
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.exit_codes import ExitCode
from maintenance.commands.listing import Item, Listing, Row
from maintenance.conf import parse_configuration
from maintenance.conf.presets import OriginOfValue, preset_named, values_with_origins
from maintenance.core.wording import counted
from maintenance.reports.columns import visible, wrap


def show_configuration(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print the values that somebody wrote, each with its origin; what nobody wrote is a default."""
    choice = OutputChoice.of(options)
    given = getattr(settings, "MAINTENANCE", {})
    parsed = parse_configuration(given)
    values = list(values_with_origins(given))
    rows = [
        {"setting": v.path, "value": v.value, "from": v.origin, "replaces": v.replaces}
        for v in values
    ]
    words = f"{counted(len(rows), 'value')}; all others are defaults."
    if parsed.preset:
        preset = preset_named(parsed.preset)
        words = f"Under your values lies the preset {parsed.preset} ({preset.title}). {words}"
    if choice.format_name == "text":
        command.publish_text(lambda width: _text(words, values, width), words, choice)
    else:
        command.publish_listing(Listing("Configuration", words, rows, _item), choice)
    return ExitCode.HEALTHY


def _text(summary: str, values: Sequence[OriginOfValue], width: int) -> str:
    """Return one line a value, which is never wrapped: it can be copied into a file."""
    column = max((len(value.origin) for value in values), default=0)
    lines = [
        f"{value.origin:<{column}}  {visible(f'{value.path} = {value.value}')}"
        + (f"  (the preset: {visible(value.replaces)})" if value.replaces else "")
        for value in values
    ]
    return "\n".join([*wrap(summary, width), "", *lines]) + "\n"


def _item(row: Row) -> Item:
    return Item(f"{row['setting']} = {row['value']}")


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output_arguments(parser)


SUBCOMMAND = Subcommand(
    "config",
    "Every value of the configuration, and whether the operator or a preset says so.",
    _add_arguments,
    show_configuration,
)
