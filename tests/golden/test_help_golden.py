"""The help of every command, compared with a file that a person has read.

After a change that is meant: ``UPDATE_GOLDEN=1 pytest tests/golden``.
"""

import argparse
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from maintenance.commands.base import MaintenanceCommand
from maintenance.management.commands import (
    analyze_db_performance,
    check_data_integrity,
    health_check,
    maintenance,
    profile_queries,
)

FILE = Path(__file__).parent / "files" / "help.txt"
COMMANDS: dict[str, type[MaintenanceCommand]] = {
    "maintenance": maintenance.Command,
    "analyze_db_performance": analyze_db_performance.Command,
    "check_data_integrity": check_data_integrity.Command,
    "health_check": health_check.Command,
    "profile_queries": profile_queries.Command,
}
#: Django's own options are its own affair, and come and go with its versions.
DJANGO = {"--version", "--verbosity", "--settings", "--pythonpath", "--traceback"}
DJANGO |= {"--no-color", "--force-color", "--skip-checks"}


def pages(parser: argparse.ArgumentParser) -> Iterator[str]:
    for action in parser._actions:
        if DJANGO.intersection(action.option_strings):
            action.help = argparse.SUPPRESS
    yield parser.format_help()
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from pages(child)


def test_the_help_of_everything_is_the_stored_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    parsers = [kind().create_parser("manage.py", name) for name, kind in COMMANDS.items()]
    text = f"\n{'-' * 100}\n".join(page for parser in parsers for page in pages(parser))

    if os.environ.get("UPDATE_GOLDEN"):
        FILE.write_text(text)
    # Versions of Python break lines and brackets of "usage" differently.
    assert text.split() == FILE.read_text().split()
