"""The base of every command: one way to refuse, to print, and to end."""

import argparse
import os
import sys
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, NoReturn

from django.core.management.base import (
    BaseCommand,
    CommandError,
    CommandParser,
    DjangoHelpFormatter,
    SystemCheckError,
)
from django.core.management.color import Style, no_style

from maintenance.commands import usage
from maintenance.commands.arguments import OutputChoice
from maintenance.commands.errors import explained
from maintenance.commands.exit_codes import EXPLANATION, ExitCode
from maintenance.commands.listing import Listing
from maintenance.commands.measuring import sentences_of_failures
from maintenance.commands.output import discard_the_rest, emit, emit_body, emit_text
from maintenance.core.reports import Report
from maintenance.reports.publication import Publication, of_reports


class HelpFormatter(DjangoHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Django's order of options, and paragraphs as they were written."""


class MaintenanceCommand(BaseCommand, ABC):
    """A command whose exit code is its verdict.

    A subclass gives ``help``, ``examples``, ``add_own_arguments`` and ``run_command``, which
    returns an :class:`ExitCode`. Called from Python, a refusal is a ``CommandError`` with
    ``returncode`` 2, and findings are a ``SystemExit`` as Django's own ``check`` has it.
    """

    #: Command lines without ``manage.py``, shown at the end of ``--help``.
    examples: ClassVar[Sequence[str]] = ()
    _forced_colour = False

    def __init__(self, *args: Any, **options: Any) -> None:
        """Leave colours out where the environment has ``NO_COLOR`` (no-color.org)."""
        super().__init__(*args, **options)
        if os.environ.get("NO_COLOR"):
            self.style = no_style()
            self.stderr.style_func = None

    def add_own_arguments(self, parser: CommandParser) -> None:
        """Add the command's arguments."""

    @abstractmethod
    def run_command(self, options: dict[str, Any]) -> ExitCode:
        """Do the work and return what the exit code shall be."""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> CommandParser:
        """Return the parser, with examples and exit codes at the end of its help."""
        examples = "\n".join(f"  python manage.py {line}" for line in self.examples)
        epilog = f"examples:\n{examples}\n\n{EXPLANATION}"
        return super().create_parser(
            prog_name, subcommand, formatter_class=HelpFormatter, epilog=epilog, **kwargs
        )

    def add_arguments(self, parser: CommandParser) -> None:
        """Add the command's arguments; see :meth:`add_own_arguments`."""
        # The parser then raises a mistake instead of burying its sentence under the usage text.
        parser.called_from_command_line = False
        self.parser = parser
        self.add_own_arguments(parser)

    def run_from_argv(self, argv: list[str]) -> None:
        """Run from the shell: every expected failure is one sentence and exit code 2."""
        try:
            super().run_from_argv(argv)
        except CommandError as mistake:  # from the parser: the rest is caught where it happens
            self._refuse(usage.sentence(self.parser, str(mistake)))
        except BrokenPipeError:  # the reader (head, less) has seen enough of what goes on
            discard_the_rest()
            sys.exit(ExitCode.HEALTHY)
        except KeyboardInterrupt:
            self.stderr.write("Interrupted.")
            sys.exit(ExitCode.INTERRUPTED)

    def execute(self, *args: Any, **options: Any) -> str | None:
        """Run, and turn every error that can be expected into a sentence."""
        try:
            return super().execute(*args, **options)
        except SystemCheckError as faults:
            faults.returncode = ExitCode.NOT_MEASURED
            raise
        except Exception as error:
            sentence = str(error) if isinstance(error, CommandError) else explained(error)
            if sentence is None or isinstance(error, BrokenPipeError) or options.get("traceback"):
                raise
            if getattr(self, "_called_from_command_line", False):
                self._refuse(sentence)
            raise CommandError(sentence, returncode=ExitCode.NOT_MEASURED) from None

    def _refuse(self, sentence: str) -> NoReturn:
        self.stderr.write(sentence)
        sys.exit(ExitCode.NOT_MEASURED)

    def handle(self, *args: Any, **options: Any) -> None:  # noqa: ARG002 - Django's signature
        """Run the command and end the process with its verdict."""
        self._forced_colour = bool(options.get("force_color"))
        code = self.run_command(options)
        if code is not ExitCode.HEALTHY:
            sys.exit(code)

    def publish(self, publication: Publication, choice: OutputChoice) -> None:
        """Print or save a publication; what a file got is said on standard error."""
        emit(publication, choice, self.stdout, self.colours)
        if choice.path is not None:
            self.note(f"{publication.summary} Written to {choice.path}.")

    def publish_reports(self, title: str, reports: Sequence[Report], choice: OutputChoice) -> None:
        """Publish what was measured; say on standard error what could not be.

        A person at a terminal reads that in the text already.
        """
        if choice.format_name != "text" or choice.path is not None:
            for sentence in sentences_of_failures(reports):
                self.note(sentence)
        self.publish(of_reports(title, reports), choice)

    def publish_text(
        self, render: Callable[[int], str], summary: str, choice: OutputChoice
    ) -> None:
        """Print or save text that ``render`` makes for a width in cells."""
        emit_text(render, choice, self.stdout, self.colours)
        if choice.path is not None:
            self.note(f"{summary} Written to {choice.path}.")

    def publish_body(self, body: str, summary: str, choice: OutputChoice) -> None:
        """Print or save a file of a format that reports do not have."""
        emit_body(body, choice, self.stdout)
        if choice.path is not None:
            self.note(f"{summary} Written to {choice.path}.")

    def publish_listing(self, listing: Listing, choice: OutputChoice) -> None:
        """Print or save a list."""
        if choice.format_name == "text":
            self.publish_text(listing.text, listing.summary, choice)
        else:
            self.publish(listing.publication(), choice)

    @property
    def colours(self) -> Style | None:
        """The style of verdicts, ``None`` where colour is unwanted."""
        # Django decides on colour by the process's output; this one may go elsewhere.
        return self.style if self._forced_colour or self.stdout.isatty() else None

    def note(self, text: str) -> None:
        """Say something that is no part of the report, on standard error."""
        self.stderr.write(text, style_func=lambda line: line)
