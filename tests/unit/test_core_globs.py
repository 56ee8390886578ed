"""Patterns that can match one key."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.globs import common_key, matches_nearly_all
from maintenance.redis_client.globs import matcher

patterns = st.text(alphabet="ab*?[]^-\\", max_size=6)


@pytest.mark.parametrize(
    ("one", "other", "key"),
    [
        ("*-home", "*-local", None),
        ("*-home", "1-*", "1-home"),
        ("*-home", "*-home-local", None),
        ("[a-c]x*", "[^b]*y", "axy"),
        ("[a]", "[^a]", None),
        (r"\*a", "*a", "*a"),
        ("ä?", "*", "ä1"),
    ],
)
def test_two_patterns_overlap_where_a_key_matches_both(
    one: str, other: str, key: str | None
) -> None:
    assert common_key(one, other) == key
    assert (common_key(other, one) is None) == (key is None)


@pytest.mark.parametrize(
    ("pattern", "nearly_all"),
    [
        ("", True),
        ("*", True),
        ("?*", True),
        ("[^_]*", True),
        ("*[!-~]*", True),
        ("[a-zA-Z0-9]*", True),
        ("[0-9]*", False),
        ("*e*", False),
        ("\\*", False),
        ("[]", False),
        ("book:*", False),
    ],
)
def test_a_pattern_without_a_byte_of_its_own_matches_nearly_all(
    pattern: str, nearly_all: bool
) -> None:
    assert matches_nearly_all(pattern) is nearly_all


@given(one=patterns, other=patterns)
def test_the_key_that_is_named_matches_both(one: str, other: str) -> None:
    key = common_key(one, other)
    if key is not None and re.fullmatch(r"[\x21-\x7e]*", key):
        assert matcher([one])(key.encode())
        assert matcher([other])(key.encode())


@given(one=patterns, other=patterns, key=st.text(alphabet="ab*?[]^-\\", max_size=4))
def test_patterns_that_share_no_key_have_none_by_the_matcher_either(
    one: str, other: str, key: str
) -> None:
    if common_key(one, other) is None:
        assert not (matcher([one])(key.encode()) and matcher([other])(key.encode()))
