"""What a command line, or the title that a process gave itself, says of a Gunicorn or Celery process.

Pure. Gunicorn and Celery write a title of their own over their command line where setproctitle is
installed; both forms are read.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath

from maintenance.core.command_lines import named_program

_GUNICORN_TITLE = re.compile(r"gunicorn: (?:master|worker) \[(?P<name>[^\]]*)\]")
_CELERY_TITLE = re.compile(r"\[celeryd: (?P<node>[^\s:\]]+)[^\]]*\]")

_CELERY_COMMANDS = ("worker", "beat", "flower")

#: Options of Gunicorn and Celery whose value is the next word; names of processes are not among them.
_NAMING = ("-n", "--hostname", "-Q", "--queues", "-A", "--app", "-c", "--config", "-b", "--bind")


@dataclass(frozen=True, slots=True)
class Program:
    """What a process is. ``kind`` is gunicorn, or celery with its command; ``name`` tells two apart.

    ``recycled_by`` names the options on the command line that end a worker after a while;
    ``config`` is Gunicorn's ``--config`` as it was written.
    """

    kind: str
    name: str
    recycled_by: tuple[str, ...] = ()
    config: str = ""

    @property
    def title(self) -> str:
        """How the group is called in reports and samples."""
        return f"{self.kind} {self.name}".strip()


def program_of(words: Sequence[str]) -> Program | None:
    """Return what a process is by its command line; ``None`` for any other process.

    A name holds no process id, so that a group keeps it when it is started again.
    """
    if not words:
        return None
    first = " ".join(words)
    title = _GUNICORN_TITLE.match(first)
    if title:
        return Program("gunicorn", title["name"])
    title = _CELERY_TITLE.match(first)
    if title:
        return Program("celery worker", title["node"])
    place = _place_of_program(words)
    if place is None:
        return None
    arguments = list(words[place + 1 :])
    if named_program(words, place) == "gunicorn":
        return _gunicorn(arguments)
    return _celery(arguments)


def _place_of_program(words: Sequence[str]) -> int | None:
    """Return where ``gunicorn`` or ``celery`` stands: run itself, by an interpreter, or by ``-m``."""
    for place in range(4):
        if named_program(words, place) not in {"gunicorn", "celery"}:
            continue
        is_program = place == 0 or words[place - 1] == "-m"
        is_script = place == 1 and PurePosixPath(words[0]).name.startswith(("python", "pypy"))
        if is_program or is_script:
            return place
    return None


def _gunicorn(arguments: Sequence[str]) -> Program:
    free = _free_words(arguments)
    name = next((word for word in free if not word.startswith("-")), "")
    recycled = ("max_requests",) if option(arguments, "--max-requests") not in {"", "0"} else ()
    config = option(arguments, "-c", "--config")
    return Program("gunicorn", name, recycled, config)


def _celery(arguments: Sequence[str]) -> Program | None:
    command = next((word for word in _free_words(arguments) if word in _CELERY_COMMANDS), None)
    if command is None:
        return None
    name = option(arguments, "-n", "--hostname") or option(arguments, "-Q", "--queues")
    recycled = tuple(
        setting
        for setting, flag in (
            ("worker_max_tasks_per_child", "--max-tasks-per-child"),
            ("worker_max_memory_per_child", "--max-memory-per-child"),
        )
        if option(arguments, flag)
    )
    return Program(f"celery {command}", name, recycled)


def _free_words(arguments: Sequence[str]) -> list[str]:
    """Return the words that are no value of an option whose value we know to be apart."""
    return [
        word
        for before, word in zip(("", *arguments), arguments, strict=False)
        if before not in _NAMING
    ]


def option(arguments: Sequence[str], *names: str) -> str:
    """Return the value of an option, written ``--name value`` or ``--name=value``; "" without it."""
    for place, word in enumerate(arguments):
        given, equals, value = word.partition("=")
        if given not in names:
            continue
        if equals:
            return value
        return arguments[place + 1] if place + 1 < len(arguments) else ""
    return ""
