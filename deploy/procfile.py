"""A Procfile (foreman, honcho, overmind, Heroku and the like) of the programs: ``deploy/Procfile``."""

import shlex
from collections.abc import Iterator, Sequence

from deploy.programs import Program

ADDRESS = "127.0.0.1"
STATE = "${MAINTENANCE_STATE:-/var/lib/maintenance}"
#: Set for all by whoever starts them: in .env beside the Procfile.
SHARED = frozenset({"MAINTENANCE_STATE", "DJANGO_SETTINGS_MODULE"})


def procfile(programs: Sequence[Program]) -> str:
    """Return its text: a line a program; what runs once is called ``release``."""
    return "".join(f"{line}\n" for line in _lines(programs))


def _lines(programs: Sequence[Program]) -> Iterator[str]:
    yield "# Written by `make deployment-files` from deploy/programs.toml. Two beats: --scale beat=2."
    patience = max(program.stop_seconds for program in programs)
    yield f"# Workers need {patience} s from SIGTERM to their end: foreman start -t {patience}, OVERMIND_TIMEOUT={patience}."
    for program in programs:
        placed = program.at(address=ADDRESS, state="{state}")
        settings = {
            name: value
            for name, value in placed.environment.items()
            if name not in SHARED or not value
        }
        words = ["env", *(f"{name}={value}" for name, value in settings.items())]
        commands = [
            shlex.join([*words, *command]).replace("'--db={state}", f"--db={STATE}")
            for command in placed.commands
        ]
        text = " && ".join(commands).replace("/flower.db'", "/flower.db")
        yield f"{'release' if program.once else program.name}: {text}"
