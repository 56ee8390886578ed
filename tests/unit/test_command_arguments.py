"""Arguments of the commands, and mistakes in them as sentences."""

import argparse
from pathlib import Path
from typing import Any

import pytest
from django.core.management.base import CommandError, CommandParser

from maintenance.commands import arguments, usage
from maintenance.commands.arguments import OutputChoice
from maintenance.commands.completion import places
from maintenance.commands.crew import SUBCOMMANDS
from maintenance.commands.errors import explained
from maintenance.core.errors import InvalidOptions, TargetUnavailable, UnknownName
from maintenance.core.findings import Severity
from maintenance.management.commands.maintenance import Command


def mistake(*words: str) -> str:
    """Return the sentence that ``maintenance <words>`` is refused with."""
    command = Command()
    parser = command.create_parser("manage.py", "maintenance")
    with pytest.raises(CommandError) as refusal:
        parser.parse_args(list(words))
    return usage.sentence(parser, str(refusal.value))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["rns"], 'Unknown subcommand "rns". Did you mean "runs"?'),
        (["reports", "shw"], 'Unknown subcommand "shw". Did you mean "show"?'),
        (
            [],
            f"Name a subcommand: {', '.join(sorted(each.name for each in SUBCOMMANDS))}. See --help.",
        ),
        (["reports"], "Name a subcommand: diff, list, show. See --help."),
        (["runs", "--stte", "x"], 'Unknown option "--stte". Did you mean "--state"?'),
        (["runs", "--stte=x"], 'Unknown option "--stte". Did you mean "--state"?'),
        (["runs", "more"], 'Unexpected argument "more". See --help.'),
        (["run"], "The following arguments are required: TASK. See --help."),
        (
            ["runs", "--limit", "few"],
            'Argument --limit: must be a whole number of 1 or more, got "few". See --help.',
        ),
        (
            ["recommend", "--for", "apache"],
            'Argument --for: must be one of postgresql, pgbouncer, redis, nginx, gunicorn, celery, got "apache". See --help.',
        ),
        (
            ["recommend", "--for", "redis", "--memory", "lots"],
            'Argument --memory: must be a size such as 4GB or 512MB, got "lots". See --help.',
        ),
        (
            ["run", "x", "--now", "--queue"],
            "Argument --queue: not allowed with argument --now. See --help.",
        ),
    ],
)
def test_a_mistake_on_the_command_line_is_one_sentence(words: list[str], sentence: str) -> None:
    assert mistake(*words) == sentence


def test_names_are_taken_once_each_in_the_order_given_or_all() -> None:
    known = ["queries", "bloat", "vacuum"]

    assert arguments.known_names("analysis", ["bloat", "queries", "bloat"], known) == (
        "bloat",
        "queries",
    )
    assert arguments.known_names("analysis", None, known) == tuple(known)
    with pytest.raises(UnknownName, match=r'Unknown analysis "bloats".* Did you mean "bloat"'):
        arguments.known_names("analysis", ["bloats"], known)


def test_ok_is_no_severity_to_fail_on() -> None:
    assert arguments.fail_on({"fail_on": "critical"}) is Severity.CRITICAL
    with pytest.raises(UnknownName, match="Known: critical, info, warning"):
        arguments.fail_on({"fail_on": "ok"})


def test_a_format_and_a_file_are_checked_before_anything_is_measured(tmp_path: Path) -> None:
    def choice(**changes: Any) -> OutputChoice:
        return OutputChoice.of({"format": "text", "output": None, **changes})

    assert choice() == OutputChoice("text", None)
    assert choice(output="-") == OutputChoice("text", None)
    assert choice(output=str(tmp_path / "r.html"), format="html").path == tmp_path / "r.html"
    with pytest.raises(UnknownName, match=r'Unknown format "jsn".* Did you mean "json"'):
        choice(format="jsn")
    with pytest.raises(InvalidOptions, match="There is no folder"):
        choice(output=str(tmp_path / "nowhere" / "r.txt"))
    with pytest.raises(InvalidOptions, match="is a folder"):
        choice(output=str(tmp_path))


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", ""])
def test_a_count_is_a_whole_number_of_one_or_more(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        arguments.positive_int(text)
    assert arguments.positive_int("7") == 7


@pytest.mark.parametrize("text", ["-0.1", "nan", "inf", "long", ""])
def test_a_duration_is_a_number_of_zero_or_more(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        arguments.not_negative(text)
    assert arguments.not_negative("0.5") == 0.5


def test_an_expected_error_is_a_sentence_without_a_password_and_a_defect_is_none() -> None:
    down = TargetUnavailable("postgres://u:hunter2@h/d is down.")

    assert explained(down) == "postgres://u:***@h/d is down."
    assert explained(FileNotFoundError(2, "No such file", "x")) == "No such file: x."
    assert explained(ZeroDivisionError()) is None


def test_the_suggestion_knows_the_options_of_every_level() -> None:
    parser = CommandParser(called_from_command_line=False)
    child = parser.add_subparsers(dest="subcommand").add_parser("deep")
    child.add_argument("--distant")

    assert usage.sentence(parser, "Error: unrecognized arguments: --distan") == (
        'Unknown option "--distan". Did you mean "--distant"?'
    )


def test_every_subcommand_that_reads_prints_json() -> None:
    found = places(Command().create_parser("manage.py", "maintenance"), {}, ())
    leaves = [place for place in found if place.path and place.path != ("reports",)]

    without = {place.path for place in leaves if "--json" not in place.options}

    # Two write files for programs to read; two change one row and say so in a sentence.
    assert without <= {("attach",), ("completion",), ("mute",), ("unmute",)}


def test_colours_stay_away_where_the_environment_asks_for_that(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NO_COLOR", "")  # empty means nothing: no-color.org
    assert Command(force_color=True).style.ERROR("x") != "x"
    monkeypatch.setenv("NO_COLOR", "1")
    assert Command(force_color=True).style.ERROR("x") == "x"
