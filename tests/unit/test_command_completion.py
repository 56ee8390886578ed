"""Completion scripts: what a real bash completes by them, and that all shells get the same words."""

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from maintenance.commands.completion import FILES, SHELLS, Place, places, script
from maintenance.commands.crew import SUBCOMMANDS
from maintenance.commands.crew.completion import known_words
from maintenance.conf import parse_configuration
from maintenance.management.commands.maintenance import Command

CONFIGURATION = parse_configuration(
    {"databases": {"library": {"url": "postgres://h/d"}, "it's $(odd)": {"url": "postgres://h/e"}}}
)
Complete = Callable[[str], list[str]]


@pytest.fixture(scope="module")
def found() -> list[Place]:
    parser = Command().create_parser("manage.py", "maintenance")
    return list(places(parser, known_words(CONFIGURATION), ("maintenance",)))


@pytest.fixture(scope="module")
def complete(found: list[Place], tmp_path_factory: pytest.TempPathFactory) -> Complete:
    """Return what bash offers at the end of a line."""
    path = tmp_path_factory.mktemp("completion") / "manage.bash"
    path.write_text(script("bash", found))

    def at_the_end_of(line: str) -> list[str]:
        # As Readline does it: words are split at blanks, colons and equals signs.
        asked = f"""
            source {path}
            COMP_LINE={line!r} COMP_POINT={len(line)}
            words=${{COMP_LINE//=/ = }}; words=${{words//:/ : }}
            read -ra COMP_WORDS <<< "$words"
            [[ "$COMP_LINE" == *[[:space:]=:] ]] && COMP_WORDS+=("")
            COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
            _maintenance_completion
            printf '%s\\n' "${{COMPREPLY[@]}}"
        """
        done = subprocess.run(
            ["bash", "--norc", "-c", asked], capture_output=True, text=True, check=True, timeout=20
        )
        assert done.stderr == ""
        return done.stdout.split()

    return at_the_end_of


@pytest.mark.parametrize("call", ["manage.py", "python manage.py", "python3 ./manage.py"])
def test_subcommands_are_completed_however_the_command_is_called(
    complete: Complete, call: str
) -> None:
    assert set(complete(f"{call} maintenance ")) >= {each.name for each in SUBCOMMANDS}
    assert complete(f"{call} maintenance rec") == ["recommend"]


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("maintenance run check_di", ["check_disk_space"]),
        ("maintenance run vacuum_analyze --dr", ["--dry-run"]),
        ("maintenance run vacuum_analyze --target lib", ["library"]),
        ("maintenance run --target library vacuum_a", ["vacuum_analyze"]),
        ("maintenance runs --state q", ["queued"]),
        ("maintenance runs --format=js", ["json"]),
        ("maintenance runs --json --st", ["--state"]),
        ("maintenance report latest:report_table", ["report_table_bloat"]),
        ("maintenance reports d", ["diff"]),
        ("maintenance reports list --ta", ["--task", "--target"]),
        ("maintenance proof --slots ", []),  # a path: left to the shell
        ("maintenance completion f", ["fish"]),
        ("maintenance diagnose slow", ["slow-pages"]),
        ("migrate --", []),
    ],
)
def test_words_are_completed_where_they_belong(
    complete: Complete, line: str, offered: list[str]
) -> None:
    assert complete(f"manage.py {line}") == offered


def test_every_option_of_every_subcommand_is_in_the_script_of_each_shell(
    found: list[Place],
) -> None:
    paths = {place.path[1] for place in found if len(place.path) > 1}
    assert paths == {each.name for each in SUBCOMMANDS}
    for shell in SHELLS:
        text = script(shell, found)
        for place in found:
            assert all(option.lstrip("-") in text for option in place.options), (shell, place.path)


def test_a_name_that_a_shell_would_read_otherwise_is_left_out(found: list[Place]) -> None:
    for shell in SHELLS:
        assert "$(odd)" not in script(shell, found)


def test_a_value_that_is_a_path_is_left_to_the_shell(found: list[Place]) -> None:
    (calendar,) = [place for place in found if place.path == ("maintenance", "calendar")]

    assert calendar.options["--output"] == (FILES,)
    assert calendar.options["--ics"] is None


def test_bash_accepts_the_whole_script(found: list[Place], tmp_path: Path) -> None:
    path = tmp_path / "manage.bash"
    path.write_text(script("bash", found))

    done = subprocess.run(["bash", "-n", str(path)], capture_output=True, text=True, check=False)

    assert (done.returncode, done.stderr) == (0, "")
