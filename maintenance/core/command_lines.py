"""Programs that run on this machine, by their command lines: read from /proc, which everybody may."""

import resource
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from maintenance.core.machine import ROOT

_PAGE_BYTES = resource.getpagesize()


@dataclass(frozen=True, slots=True)
class RunningProgram:
    """One process. ``resident_bytes`` is its memory, that shared with others included."""

    pid: int
    parent_pid: int
    arguments: tuple[str, ...]
    resident_bytes: int


def programs_with(program: str, text: str, root: Path = ROOT) -> list[RunningProgram]:
    """Return the processes of a program whose command line holds ``text``.

    ``program`` is what one of the first words names (``gunicorn``). Cost grows with the number of processes.
    What ends meanwhile is left out.
    """
    return [
        found
        for found in _all(root)
        if any(named_program(found.arguments, place) == program for place in range(3))
        and text in " ".join(found.arguments)
    ]


def is_doctor(arguments: Sequence[str]) -> bool:
    """Whether this is the command line of the doctor, which starts with faults that stop everything else."""
    return list(arguments[1:3]) == ["maintenance", "doctor"]


def named_program(arguments: Sequence[str], place: int) -> str:
    """Return the program that a word names: the last part of a path, or of a module after ``-m``; "" without a word."""
    if place >= len(arguments):
        return ""
    is_module = place > 0 and arguments[place - 1] == "-m"
    return arguments[place].rpartition("." if is_module else "/")[2]


def leaders(programs: Sequence[RunningProgram]) -> list[RunningProgram]:
    """Return those that none of the others started: the masters of worker processes."""
    pids = {program.pid for program in programs}
    return [program for program in programs if program.parent_pid not in pids]


def _all(root: Path) -> Iterator[RunningProgram]:
    for folder in (root / "proc").iterdir():
        if not folder.name.isdigit():
            continue
        try:
            arguments = (folder / "cmdline").read_bytes().split(b"\0")
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            pages = int((folder / "statm").read_text().split()[1])
        except (OSError, ValueError, IndexError):
            continue
        words = tuple(argument.decode(errors="replace") for argument in arguments if argument)
        if words:
            yield RunningProgram(int(folder.name), int(fields[1]), words, pages * _PAGE_BYTES)
