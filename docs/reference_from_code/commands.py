"""The page of commands: the help of each, as the command itself prints it."""

import argparse
import os
from collections.abc import Iterator
from contextlib import contextmanager

from django.core.management import get_commands, load_command_class

from docs.reference_from_code.markdown import block, page

#: Of these applications every command is ours.
_APPLICATIONS = ("maintenance", "service")

_INTRODUCTION = "Each is behind `python manage.py`; `--help` prints what stands here."


def commands_page() -> str:
    """Return the page."""
    with _columns(100):
        return page("Commands", _INTRODUCTION, *_commands())


def parsers() -> Iterator[tuple[str, argparse.ArgumentParser]]:
    """Yield every command and subcommand with its parser, in the order of names."""
    for name, application in sorted(get_commands().items()):
        if application in _APPLICATIONS:
            command = load_command_class(application, name)
            yield from _with_below(name, command.create_parser("manage.py", name))


def _with_below(
    name: str, parser: argparse.ArgumentParser
) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    yield name, parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for word, below in action.choices.items():
                yield from _with_below(f"{name} {word}", below)


def _commands() -> Iterator[str]:
    for name, parser in parsers():
        yield f"{'##' if ' ' not in name else '###'} {name}"
        yield block(parser.format_help())


@contextmanager
def _columns(width: int) -> Iterator[None]:
    """Let argparse wrap its lines alike at whatever terminal the page is built."""
    before = os.environ.get("COLUMNS")
    os.environ["COLUMNS"] = str(width)
    try:
        yield
    finally:
        if before is None:
            del os.environ["COLUMNS"]
        else:
            os.environ["COLUMNS"] = before
