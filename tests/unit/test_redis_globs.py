"""Patterns match here what they match on a server."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.redis_client.globs import escape_glob, literal_beginning, matcher


@pytest.mark.parametrize(
    ("pattern", "key", "matches"),
    [
        ("book:*", b"book:1", True),
        ("book:*", b"Book:1", False),
        ("book:?", b"book:12", False),
        ("b[ao]ok", b"book", True),
        ("b[^ao]ok", b"book", False),
        ("[a-c]x", b"bx", True),
        ("[c-a]x", b"bx", True),
        ("[a-c]x", b"-x", False),
        (r"book:\*", b"book:*", True),
        (r"book:\*", b"book:1", False),
        (r"[\]]", b"]", True),
        ("[]", b"", False),
        ("[ab", b"a", True),
        ("a*b", b"a\nb", True),
        ("*", b"\xff\xfe", True),
        ("a.c", b"abc", False),
        ("trailing\\", b"trailing\\", True),
    ],
)
def test_a_pattern_is_read_as_the_server_reads_it(pattern: str, key: bytes, matches: bool) -> None:
    assert matcher([pattern])(key) is matches


def test_no_pattern_matches_nothing_and_one_of_several_is_enough() -> None:
    assert not matcher([])(b"a")
    assert matcher(["x", "a*"])(b"abc")


@given(st.text())
def test_an_escaped_text_matches_itself_alone(text: str) -> None:
    matches = matcher([escape_glob(text)])
    assert matches(text.encode())
    assert not matches(text.encode() + b"x")


@given(st.text(), st.sampled_from(["", "*", "?x", "[ab]c"]))
def test_what_a_pattern_begins_with_is_read_back_from_it(text: str, rest: str) -> None:
    assert literal_beginning(escape_glob(text) + rest) == text
