"""Renderings compared letter by letter with files that a person has looked at.

After a change that is meant, write them anew and read the difference before it is committed::

    UPDATE_GOLDEN=1 pytest tests/golden
"""

import os
import re
from pathlib import Path

import pytest

from maintenance.reports.diff import compare
from maintenance.reports.diff_text import render_diff
from maintenance.reports.formats import FORMATS, render, render_all, render_report
from maintenance.reports.text import render_text
from tests.golden.example_report import DOCUMENT, EARLIER_DOCUMENT, QUIET_REPORT, REPORT

STYLE_SHEET = re.compile("<style>.*</style>", re.DOTALL)
FILES = Path(__file__).parent / "files"


def assert_golden(name: str, text: str) -> None:
    """Compare ``text`` with the stored file; write the file where UPDATE_GOLDEN is set.

    The style sheet inside of a page is left out: it has no words to be wrong.
    """
    text = STYLE_SHEET.sub("<style></style>", text)
    path = FILES / name
    if os.environ.get("UPDATE_GOLDEN"):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(text.encode())
    assert text == path.read_bytes().decode()


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_run_is_rendered_as_the_stored_file(format_name: str) -> None:
    assert_golden(f"document{FORMATS[format_name].suffix}", render(DOCUMENT, format_name))


@pytest.mark.parametrize("format_name", FORMATS)
def test_several_reports_are_rendered_as_the_stored_file(format_name: str) -> None:
    text = render_all("Performance of default", [REPORT, QUIET_REPORT], format_name)
    assert_golden(f"several{FORMATS[format_name].suffix}", text)


@pytest.mark.parametrize("format_name", FORMATS)
def test_a_report_without_a_run_is_rendered_as_the_stored_file(format_name: str) -> None:
    assert_golden(f"bare{FORMATS[format_name].suffix}", render_report(QUIET_REPORT, format_name))


def test_a_narrow_terminal_gets_the_stored_text() -> None:
    assert_golden("narrow.txt", render_text(DOCUMENT, width=60))


def test_a_comparison_is_told_as_the_stored_text() -> None:
    assert_golden("comparison.txt", render_diff(compare(EARLIER_DOCUMENT, DOCUMENT)))
