"""Log records on a console: no value in one looks like another record."""

import logging
import sys
from pathlib import Path

import pytest

from maintenance.reports.console_line import ConsoleLineFormatter
from tests.service_process import run_in_service

FORMAT = "%(levelname)s %(name)s: %(message)s"


def written(message: str, *values: object, failed: bool = False) -> str:
    record = logging.getLogger("maintenance.caching").makeRecord(
        "maintenance.caching",
        logging.WARNING,
        __file__,
        1,
        message,
        values,
        sys.exc_info() if failed else None,
    )
    return ConsoleLineFormatter(FORMAT).format(record)


def test_a_value_with_a_newline_begins_no_record() -> None:
    text = written("%s keeps its old value", "key\nERROR root: all is lost\r\nINFO x: y")

    assert text.split("\n") == [
        "WARNING maintenance.caching: key",
        "    ERROR root: all is lost\\r",
        "    INFO x: y keeps its old value",
    ]


@pytest.mark.parametrize(
    ("raw", "shown"),
    [
        ("\x1b[2J", "\\x1b[2J"),
        ("\x00\x7f", "\\x00\\x7f"),
        ("\x0b\x0c\x1c", "\\x0b\\x0c\\x1c"),
        ("\x85\x9b", "\\x85\\x9b"),
        ("\u2028\u2029", "\\u2028\\u2029"),
        ("\u202edesrever", "\\u202edesrever"),
        ("tab\tÄ 日 “q” \\n", "tab\tÄ 日 “q” \\n"),
    ],
)
def test_control_characters_are_written_out_and_text_stays(raw: str, shown: str) -> None:
    assert written("%s", raw) == f"WARNING maintenance.caching: {shown}"


def fail() -> None:
    raise ValueError("of a server\nCRITICAL root: forged")


def test_a_traceback_is_indented_and_whole() -> None:
    try:
        fail()
    except ValueError:
        first, *more = written("It failed", failed=True).split("\n")

    assert first == "WARNING maintenance.caching: It failed"
    assert all(line.startswith("    ") for line in more)
    assert "    CRITICAL root: forged" in more
    assert more[0] == "    Traceback (most recent call last):"


def test_the_console_of_the_service_writes_so(tmp_path: Path) -> None:
    program = "import django, logging; django.setup(); logging.error('a\\nERROR b: c\\x1b')"
    done = run_in_service(program, tmp_path)

    assert done.stderr == "ERROR root: a\n    ERROR b: c\\x1b\n"
