"""From a publication to the terminal, a pipe or a file."""

import os
import re
import shutil
import sys
from collections.abc import Callable

from django.core.management.base import OutputWrapper
from django.core.management.color import Style

from maintenance.commands.arguments import OutputChoice
from maintenance.core.errors import InvalidOptions
from maintenance.reports import text
from maintenance.reports.formats import renderer
from maintenance.reports.publication import Publication

#: A pipe or a file has no width of its own; this is what fits a mail and a ticket.
PLAIN_WIDTH = 100
#: Lines longer than this are hard to read, however wide the terminal.
LONGEST_LINE = 140

# The sign that begins a verdict or an entry of a list, and the word that the sign stands for.
_LABEL = re.compile(r"^\[(?P<sign>!!|!|i|\?|ok|--|\.\.)\](?: [A-Z]+\b)?", re.MULTILINE)


def emit(
    publication: Publication, choice: OutputChoice, stdout: OutputWrapper, style: Style | None
) -> None:
    """Write the publication where ``choice`` says. ``style`` is ``None`` where colour is unwanted.

    Raises ``InvalidOptions`` where the file cannot be written.
    """
    if choice.format_name == "text":
        emit_text(
            lambda width: text.render_publication(publication, width=width), choice, stdout, style
        )
        return
    _write(renderer(choice.format_name).render(publication), choice, stdout)


def emit_text(
    render: Callable[[int], str], choice: OutputChoice, stdout: OutputWrapper, style: Style | None
) -> None:
    """Write what ``render`` makes for a width in cells; coloured on a terminal only."""
    if choice.path is not None:
        _write(render(PLAIN_WIDTH), choice, stdout)
        return
    body = render(_width(stdout))
    _write(coloured(body, style) if style is not None else body, choice, stdout)


def emit_body(body: str, choice: OutputChoice, stdout: OutputWrapper) -> None:
    """Write a file of another format as it is. Raises ``InvalidOptions`` as :func:`emit`."""
    _write(body, choice, stdout)


def _width(stdout: OutputWrapper) -> int:
    if not stdout.isatty():
        return PLAIN_WIDTH
    return min(shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns, LONGEST_LINE)


def _write(body: str, choice: OutputChoice, stdout: OutputWrapper) -> None:
    if choice.path is None:
        _print(body, stdout)
        return
    try:
        choice.path.write_text(body, encoding="utf-8")
    except OSError as error:
        raise InvalidOptions(
            f"The report cannot be written to {choice.path}: {error.strerror}."
            " Make room or give another --output."
        ) from None


def _print(body: str, stdout: OutputWrapper) -> None:
    """Write to standard output, and let a reader that has seen enough change no verdict."""
    try:
        stdout.write(body)
        stdout.flush()
    except BrokenPipeError:
        discard_the_rest()


def discard_the_rest() -> None:
    """Let standard output lead nowhere, since nobody reads it: Python would complain once more at exit."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def coloured(body: str, style: Style) -> str:
    """Colour the verdict labels; the sign and the word beside it carry the meaning without."""
    painters: dict[str, Callable[[str], str]] = {
        "!!": style.ERROR,
        "!": style.WARNING,
        "?": style.NOTICE,
        "i": style.NOTICE,
        "ok": style.SUCCESS,
    }

    def paint(label: re.Match[str]) -> str:
        painter = painters.get(label.group("sign"))
        return painter(label.group()) if painter else label.group()

    return _LABEL.sub(paint, body)
