"""What appears in the terminal: one line at a time, with its source, and without secrets."""

import logging
import os
import re
import sys
import threading
from collections.abc import Callable, Iterable
from typing import IO, Any

from rich.console import Console, RenderableType
from rich.text import Text

from maintenance.core.redaction import redact

OWN_NAME = "up"
NAME_WIDTH = 13
#: Wide enough for an address table in a log file, where there is no window to fit into.
PIPE_WIDTH = 160
LONGEST_LINE_BYTES = 64 * 1024
COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green")

# Escape sequences (ECMA-48) and other control characters: a child must not steer our terminal.
_CONTROL = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[@-_]|[\x00-\x08\x0b-\x1f\x7f]")


def plain_line(text: str, concealed: Iterable[str] = ()) -> str:
    """Return ``text`` without control sequences, passwords and the ``concealed`` values."""
    text = redact(_CONTROL.sub("", text))
    for value in concealed:
        text = text.replace(value, "***")
    return text.rstrip()


class Output:
    """Prefixed lines on standard output; colours only where that is a terminal.

    Safe to use from several threads. A reader who went away (``| head``) sets ``is_broken``.
    """

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or _console()
        self.is_broken = False
        self._concealed: tuple[str, ...] = ()
        self._colours: dict[str, str] = {OWN_NAME: "bold"}
        self._lock = threading.Lock()

    def conceal(self, values: Iterable[str]) -> None:
        """Never print these values in a line; for text that no pattern recognizes as a secret."""
        self._concealed = (*self._concealed, *(value for value in values if value))

    def say(self, text: str) -> None:
        """Print a line of our own."""
        self.line(OWN_NAME, text)

    def complain(self, text: str) -> None:
        """Write why nothing was started to standard error, plain."""
        for line in text.splitlines():
            sys.stderr.write(plain_line(line, self._concealed) + "\n")

    def line(self, source: str, text: str) -> None:
        """Print one line of a process."""
        name = Text(f"{source:<{NAME_WIDTH}}| ", style=self._colour(source))
        self.show(name + Text(plain_line(text, self._concealed)))

    def show(self, content: RenderableType) -> None:
        """Print a table or a text as it is: what is in it is meant for the reader's eyes."""
        try:
            self.console.print(content, soft_wrap=isinstance(content, Text))
        except OSError:  # BrokenPipeError, or EIO of a closed terminal
            self._give_up()

    def relay(self, stream: IO[bytes], source: str, may_be_said: Callable[[str], bool]) -> None:
        """Print what a process writes until it closes its end, line by line where allowed."""
        with stream:
            for raw in iter(lambda: stream.readline(LONGEST_LINE_BYTES), b""):
                text = raw.decode(errors="replace")
                if text.strip() and may_be_said(text):
                    self.line(source, text)

    def _give_up(self) -> None:
        """Nobody reads any more: write into the void from now on.

        Python's library reference, "Note on SIGPIPE": else the interpreter fails at its last
        flush, and with it the exit code.
        """
        self.is_broken = True
        void = os.open(os.devnull, os.O_WRONLY)
        os.dup2(void, sys.stdout.fileno())
        os.close(void)

    def _colour(self, source: str) -> str:
        with self._lock:
            if source not in self._colours:
                self._colours[source] = COLOURS[(len(self._colours) - 1) % len(COLOURS)]
            return self._colours[source]


class OutputHandler(logging.Handler):
    """Log records of this process as lines of ``up``, so that they do not tear a live display."""

    def __init__(self, output: Output) -> None:
        super().__init__()
        self._output = output

    def emit(self, record: logging.LogRecord) -> None:
        """Print the record's message, and the traceback where it has one."""
        for line in self.format(record).splitlines():
            self._output.say(line)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Let the caller know; rich would end the process here, with its children running."""
        raise BrokenPipeError


def _console() -> Console:
    options: dict[str, Any] = {"highlight": False, "markup": False, "emoji": False}
    console = _Console(**options)
    return console if console.is_terminal else _Console(width=PIPE_WIDTH, **options)
