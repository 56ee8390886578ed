"""Statements lose their literals and comments, and nothing else that helps to recognise them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.statement_text import (
    command_of,
    have_one_shape,
    shape_of,
    shown_text,
    without_literals,
)


@pytest.mark.parametrize(
    ("statement", "shown"),
    [
        ("SELECT 1", "SELECT ?"),
        (
            "UPDATE t SET a = 'x''y', b = 1.5e3 WHERE c = $1",
            "UPDATE t SET a = ?, b = ? WHERE c = $1",
        ),
        ("SELECT E'it\\'s secret', b'01', N'x', U&'\\0061'", "SELECT ?, ..."),
        ("SELECT * FROM t WHERE id IN (1, 2,3)", "SELECT * FROM t WHERE id IN (?, ...)"),
        ("SELECT $$secret$$, $tag$se$$cret$tag$ FROM x", "SELECT ?, ... FROM x"),
        ("SELECT /* a /* nested */ secret */ b -- secret\n FROM c", "SELECT b FROM c"),
        (
            'SELECT "Odd ""name" FROM "T$1" WHERE x1 = 2',
            'SELECT "Odd ""name" FROM "T$1" WHERE x1 = ?',
        ),
        ("ALTER ROLE a PASSWORD 'secret'", "ALTER ROLE a PASSWORD ?"),
        ("SELECT a$1$b, \U0001f4dax$$ FROM t", "SELECT a$1$b, \U0001f4dax$$ FROM t"),
        ("SELECT 0x1F, 1_000, .5, -3", "SELECT ?, ..., -?"),
        ("", ""),
    ],
)
def test_literals_become_question_marks(statement: str, shown: str) -> None:
    assert without_literals(statement) == shown


@pytest.mark.parametrize(
    "cut",
    [
        "INSERT INTO t VALUES ('sec",
        "INSERT INTO t VALUES ($q$ sec",
        "INSERT INTO t VALUES (E'a\\'sec",
        "INSERT INTO t VALUES ('it''s sec",
    ],
)
def test_a_literal_that_the_server_cut_off_ends_the_statement(cut: str) -> None:
    shown = without_literals(cut)
    assert shown.startswith("INSERT INTO t VALUES (?")
    assert shown.endswith(" ...")
    assert "sec" not in shown


def test_a_backslash_in_a_plain_string_ends_the_statement_for_it_may_hide_a_quote() -> None:
    assert without_literals(r"SELECT 'it\'s secret' FROM t") == "SELECT ? ..."


def test_a_comment_or_name_that_was_cut_off_is_left_out() -> None:
    assert without_literals("SELECT a /* secret") == "SELECT a ..."
    assert without_literals('SELECT a, "sec') == "SELECT a, ..."


def test_a_long_statement_is_cut() -> None:
    shown = without_literals("SELECT " + ", ".join(f"column_{n}" for n in range(100)))
    assert shown.startswith("SELECT column_0, column_1")
    assert shown.endswith(" ...")
    assert len(shown) <= 304


def test_the_command_is_the_first_keyword() -> None:
    assert command_of("/* x */ select 1") == "SELECT"
    assert command_of("  insert into t values ('a')") == "INSERT"
    assert command_of("(SELECT 1)") == "SELECT"
    assert command_of("'secret'") == ""
    assert command_of("") == ""


SECRET = "zqsecretqz"
_ANYTHING = st.text(max_size=12)


def _quoted(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"


def _escaped(text: str) -> str:
    return "E'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"


def _unicode(text: str) -> str:
    return "U&" + _quoted(text.replace("\\", "\\\\"))


def _dollar_quoted(text: str, tag: str) -> str:
    return f"${tag}${text}${tag}$"


# Digits that no name, parameter or other number of the statement contains.
SECRET_NUMBER = "7340917"
_AROUND = st.text("ab'\"$ \\\n/*-", max_size=8)

_LITERALS = st.one_of(
    st.builds(lambda a, b: _quoted(a + SECRET + b), _ANYTHING, _ANYTHING),
    st.builds(lambda a, b: _escaped(a + SECRET + b), _ANYTHING, _ANYTHING),
    st.builds(lambda a, b: _unicode(a + SECRET + b), _ANYTHING, _ANYTHING),
    st.builds(lambda a: f"N{_quoted(a + SECRET)}", _ANYTHING),
    # A string goes on in the next line, with the rules of its beginning.
    st.builds(lambda a: f"{_escaped(a)}\n{_escaped(SECRET)[1:]}", _ANYTHING),
    st.builds(lambda a: f"'a'\n{_quoted(a + SECRET)}", _ANYTHING),
    st.builds(
        lambda a, tag: _dollar_quoted(a + SECRET, tag),
        _ANYTHING.filter(lambda t: "$" not in t),
        st.sampled_from(["", "x", "tag_1", "Ünï"]),
    ),
    st.builds(
        lambda a: _dollar_quoted(f"{_dollar_quoted(a, 'in')}{SECRET}", "out"),
        _AROUND.filter(lambda t: "$" not in t),
    ),
    st.builds(lambda a: f"/*{a}{SECRET}*/ 1", st.text(alphabet="ab'\"$ ", max_size=8)),
    st.builds(lambda a: f"/* /*{a}*/ {SECRET} */ 1", st.text(alphabet="ab'\"$ ", max_size=8)),
    st.builds(lambda a: f"1 --{a}{SECRET}\n", st.text(alphabet="ab'\"$/* ", max_size=8)),
    st.sampled_from(
        [
            SECRET_NUMBER,
            f"-{SECRET_NUMBER}.5",
            f".{SECRET_NUMBER}",
            f"1.{SECRET_NUMBER}e-{SECRET_NUMBER}",
            f"1e+{SECRET_NUMBER}",
            f"0x{SECRET_NUMBER}",
            f"{SECRET_NUMBER}::bigint",
            f"'{SECRET_NUMBER}'::int4",
            f"CAST({SECRET_NUMBER} AS text)",
            f"date '{SECRET_NUMBER}'",
            f"interval'{SECRET}'",
            f"B'{SECRET_NUMBER}'",
            f"x'{SECRET_NUMBER}'",
            f"ARRAY[{SECRET_NUMBER}, {SECRET_NUMBER}]",
            f"a[{SECRET_NUMBER}:{SECRET_NUMBER}]",
            f"f(b => {SECRET_NUMBER})",
        ]
    ),
)
_BETWEEN = st.sampled_from(
    [" ", ", ", " = ", " AND a$b = ", ' "Na""me" ', " u1 ", "\n", " || ", " $1 ", "("]
)


@given(st.lists(st.tuples(_BETWEEN, _LITERALS), min_size=1, max_size=8), st.data())
def test_no_literal_and_no_comment_is_ever_shown(
    pieces: list[tuple[str, str]], data: st.DataObject
) -> None:
    statement = "SELECT" + "".join(between + literal for between, literal in pieces)
    cut = data.draw(st.integers(min_value=0, max_value=len(statement)))
    for text in (statement, statement[:cut]):
        for shown in (without_literals(text, 10_000), shown_text(text), shape_of(shown_text(text))):
            assert SECRET not in shown
            assert SECRET_NUMBER not in shown


@pytest.mark.parametrize(
    "texts",
    [
        ("SELECT a FROM t WHERE b IN (1)", "SELECT a FROM t WHERE b IN (1, 2, 3)"),
        ("SELECT a FROM t WHERE b IN ($1 /*, ... */)", "SELECT a FROM t WHERE b IN ($1, $2)"),
        ("SELECT a FROM t WHERE b = $1", "SELECT a\nFROM t WHERE b = 'x' -- y"),
        ("INSERT INTO t VALUES (1, 'a')", "INSERT INTO t VALUES (2, 'b'), (3, 'c'), (4, 'd')"),
    ],
)
def test_statements_that_differ_in_their_values_have_one_shape(texts: tuple[str, str]) -> None:
    one, other = (shape_of(without_literals(text)) for text in texts)
    assert one == other


def test_statements_of_other_tables_or_conditions_have_other_shapes() -> None:
    texts = (
        "SELECT a FROM t WHERE b IN (1)",
        "SELECT a FROM u WHERE b IN (1)",
        "SELECT a FROM t WHERE c IN (1)",
        "SELECT a FROM t WHERE b = 1",
        "SELECT a FROM t WHERE b = c",
    )
    assert len({shape_of(without_literals(text)) for text in texts}) == len(texts)


@given(st.text(max_size=60))
def test_any_text_comes_out_in_one_line_with_quotes_only_inside_names(text: str) -> None:
    shown = without_literals(text)
    assert "\n" not in shown
    assert "'" not in re.sub(r'"[^"]*"', "", shown)


def test_long_statements_are_one_as_far_as_both_are_kept() -> None:
    columns = ", ".join(f"book.column_{number}" for number in range(50))
    counted = f"SELECT {columns} FROM book WHERE " + " AND ".join(f"c{n} > $10" for n in range(40))
    logged = counted.replace("$10", "7")
    assert have_one_shape(shown_text(counted), shown_text(logged))
    assert not have_one_shape(shown_text(counted), shown_text(logged.replace("SELECT", "DELETE")))


def test_short_statements_that_end_alike_are_not_one() -> None:
    assert have_one_shape("SELECT $1", "SELECT ?")
    assert not have_one_shape("SELECT ...", "SELECT name FROM book")
