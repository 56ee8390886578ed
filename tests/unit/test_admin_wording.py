"""How the admin's pages write names, distances in time, and texts that are too long."""

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.admin.wording import named, relative, shortened, task_words

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)


def test_a_name_is_a_phrase_and_that_of_a_task_of_the_site_stays_as_it_is() -> None:
    assert task_words("maintenance.review_n_plus_one") == "Review N+1"
    assert task_words("trim_streams") == "Trim streams"
    assert task_words("library.send_newsletter") == "library.send_newsletter"


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (30, "now"),
        (0, "just now"),
        (-30, "just now"),
        (3 * 3600, "in 3\u00a0hours"),
        (-3 * 3600, "3\u00a0hours ago"),
    ],
)
def test_how_far_off_a_moment_is(seconds: int, words: str) -> None:
    assert relative(NOON + timedelta(seconds=seconds), NOON) == words


def test_a_text_is_cut_between_two_words() -> None:
    text = "16 indexes are bloated; rebuilding would give back 21 MB."

    assert shortened(text, 53) == "16 indexes are bloated; rebuilding would give back …"
    assert shortened(text, 25) == "16 indexes are bloated …"
    assert shortened(text, len(text)) == text


@given(st.text(), st.integers(3, 80))
def test_a_shortened_text_is_never_longer_than_it_may_be(text: str, most: int) -> None:
    assert len(shortened(text, most)) <= most


def test_nothing_has_no_name() -> None:
    assert named("sent", "") == ""
    assert "<2" not in named("sent", "<2")
