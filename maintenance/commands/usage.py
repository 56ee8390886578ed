"""Mistakes on the command line, said in one sentence."""

import argparse
import re
from collections.abc import Iterator

from maintenance.core.suggestions import did_you_mean

_INVALID_CHOICE = re.compile(r"argument (?P<name>\S+): invalid choice: '(?P<given>.*)' \(choose")

_MISSING_SUBCOMMAND = re.compile(r"arguments are required: (?P<name>\w*subcommand)")


def sentence(parser: argparse.ArgumentParser, message: str) -> str:
    """Return argparse's ``message`` as a sentence, with a suggestion for a misspelt word."""
    message = message.removeprefix("Error: ").strip()
    unknown = re.match(r"unrecognized arguments: (\S+)", message)
    if unknown:
        given = unknown.group(1).partition("=")[0]
        if not given.startswith("-"):
            return f'Unexpected argument "{given}". See --help.'
        return f'Unknown option "{given}". {did_you_mean(given, set(_options(parser)))}'
    choice = _INVALID_CHOICE.match(message)
    if choice:
        given = choice.group("given")
        known = set(_subcommands(parser, choice.group("name")))
        return f'Unknown subcommand "{given}". {did_you_mean(given, known)}'
    missing = _MISSING_SUBCOMMAND.search(message)
    if missing:
        known = set(_subcommands(parser, missing.group("name")))
        return f"Name a subcommand: {', '.join(sorted(known))}. See --help."
    return f"{message[:1].upper()}{message[1:].rstrip('.')}. See --help."


def _parsers(parser: argparse.ArgumentParser) -> Iterator[argparse.ArgumentParser]:
    yield parser
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            for child in action.choices.values():
                yield from _parsers(child)


def _options(parser: argparse.ArgumentParser) -> Iterator[str]:
    for each in _parsers(parser):
        for action in each._actions:
            yield from action.option_strings


def _subcommands(parser: argparse.ArgumentParser, level: str) -> Iterator[str]:
    """Yield the names that one level of subcommands knows; ``level`` is its ``dest``."""
    for each in _parsers(parser):
        for action in each._actions:
            if isinstance(action, argparse._SubParsersAction) and action.dest == level:
                yield from action.choices
