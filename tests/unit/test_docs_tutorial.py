"""What the tutorial tells to type exists, and is understood as it is written."""

import re
import shlex
from pathlib import Path

import pytest

from docs.reference_from_code.commands import parsers

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs/tutorial/first-ten-minutes.md").read_text()
LINES = [
    line
    for block in re.findall(r"```console\n(.*?)```", TUTORIAL, re.DOTALL)
    for line in block.splitlines()
]
COMMANDS = [
    line.removeprefix("$ .venv/bin/python manage.py ") for line in LINES if "manage.py" in line
]
TARGETS = [line.removeprefix("$ make ") for line in LINES if line.startswith("$ make ")]


def test_every_line_is_a_command_or_a_target() -> None:
    assert len(COMMANDS) + len(TARGETS) == len(LINES) > 8


@pytest.mark.parametrize("line", COMMANDS)
def test_a_command_is_understood(line: str) -> None:
    name, *arguments = shlex.split(line)

    assert dict(parsers())[name].parse_args(arguments)


@pytest.mark.parametrize("target", TARGETS)
def test_a_target_is_there(target: str) -> None:
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text(), re.MULTILINE)
