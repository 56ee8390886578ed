"""Which uses of count() are told from their line, and which are left alone."""

import linecache
from pathlib import Path

import pytest

from maintenance.web.source_hints import COUNT_FOR_EXISTENCE, hint_of

COUNT = 'SELECT COUNT(*) AS "__count" FROM "t"'


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("if books.count():", True),
        ("if books.count() > 0:", True),
        ("elif not books.count():", True),
        ("while books.filter(a=1).count() >= 1:", True),
        ("return bool(books.count())", True),
        ("is_empty = books.count() == 0", True),
        ("if books.count() > 1:", False),
        ("if books.count() > limit:", False),
        ("total = books.count()", False),
        ("if text.count('a'):", False),
        ("context = {'n': books.count()", False),
        ("", False),
    ],
)
def test_the_line_shows_it(tmp_path: Path, code: str, expected: bool) -> None:
    source = tmp_path / "views.py"
    source.write_text(f"\n    {code}\n")
    linecache.checkcache(str(source))
    assert hint_of(COUNT, (str(source), 2)) == (COUNT_FOR_EXISTENCE if expected else "")


def test_other_statements_and_unknown_lines_show_nothing(tmp_path: Path) -> None:
    source = tmp_path / "other.py"
    source.write_text("if books.count():\n")
    assert hint_of('SELECT "a" FROM "t"', (str(source), 1)) == ""
    assert hint_of(COUNT, ("", 0)) == ""
    assert hint_of(COUNT, (str(tmp_path / "gone.py"), 3)) == ""
