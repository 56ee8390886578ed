"""Statements as Django sends them: normalised without a value, and equal to what the server counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.web.statements import (
    MAXIMUM_TEXT,
    SHOWN_TEXT,
    command_of,
    digest_of,
    main_table,
    shape,
    shown,
)

LOOKUP = 'SELECT "a"."id", "a"."name" FROM "library_author" "a" WHERE "a"."id" = {} LIMIT {}'


@pytest.mark.parametrize(
    ("sent", "counted"),
    [
        (LOOKUP.format("%s", "21"), LOOKUP.format("$1", "$2")),
        (LOOKUP.format("%(id)s", "21"), LOOKUP.format("7", "21")),
        ("SELECT 1 FROM t WHERE id IN (%s, %s, %s)", "SELECT $1 FROM t WHERE id IN ($2, $3)"),
        ("SELECT 1 FROM t WHERE d > %s", "SELECT $1 FROM t WHERE d > $2::timestamptz"),
        ("SELECT 1 FROM t WHERE a = %s", "SELECT 1 FROM t WHERE a = 'x'::jsonb[]"),
        ("SELECT 1 FROM t WHERE n LIKE 'a%%'", "SELECT $1 FROM t WHERE n LIKE $2"),
        (
            'INSERT INTO "t" ("a") VALUES (%s), (%s), (%s)',
            'INSERT INTO "t" ("a") VALUES ($1), ($2)',
        ),
    ],
)
def test_what_is_sent_and_what_is_counted_have_one_digest(sent: str, counted: str) -> None:
    assert digest_of(shape(sent)) == digest_of(shape(counted))


def test_different_statements_differ() -> None:
    assert shape('SELECT "a" FROM "t"') != shape('SELECT "b" FROM "t"')


@given(st.text(alphabet=st.characters(exclude_characters="\\\0")))
def test_no_literal_survives(text: str) -> None:
    quoted = text.replace("'", "''")
    assert shape(f"SELECT 1 FROM t WHERE a = '{quoted}'") == "SELECT ? FROM t WHERE a = ?"


@given(st.integers(min_value=0), st.floats(min_value=0, allow_infinity=False, allow_nan=False))
def test_no_number_survives(whole: int, broken: float) -> None:
    assert shape(f"SELECT a FROM t WHERE b = {whole} AND c < {broken:f}") == (
        "SELECT a FROM t WHERE b = ? AND c < ?"
    )


@given(st.lists(st.integers(), min_size=1, max_size=50))
def test_lists_of_any_length_have_one_shape(values: list[int]) -> None:
    places = ", ".join("%s" for _ in values)
    assert shape(f"SELECT a FROM t WHERE b IN ({places})") == "SELECT a FROM t WHERE b IN (?)"


@given(st.text(alphabet=st.characters(min_codepoint=32, max_codepoint=126), max_size=300))
def test_any_text_has_a_shape_that_is_its_own_shape(text: str) -> None:
    once = shape(text)
    assert shape(once) == once


@given(st.text(min_size=1, max_size=20), st.integers(min_value=1, max_value=3000))
def test_long_texts_are_cut(text: str, times: int) -> None:
    assert len(shape(text * times)) <= 2 * MAXIMUM_TEXT + 4
    assert len(shown(shape(text * times))) <= SHOWN_TEXT + 4


@pytest.mark.parametrize(
    ("text", "command", "table"),
    [
        ('SELECT a FROM "library_book" WHERE b = ?', "SELECT", "library_book"),
        ('INSERT INTO "library_book" ("a") VALUES (?)', "INSERT", "library_book"),
        ('UPDATE "public"."library_book" SET a = ?', "UPDATE", "library_book"),
        ("DELETE FROM ONLY library_book", "DELETE", "library_book"),
        ("(SELECT a FROM t) UNION (SELECT b FROM u)", "SELECT", "t"),
        ("SELECT ?", "SELECT", ""),
        ("", "", ""),
    ],
)
def test_command_and_table(text: str, command: str, table: str) -> None:
    assert (command_of(text), main_table(text)) == (command, table)
