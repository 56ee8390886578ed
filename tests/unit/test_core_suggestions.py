"""Answers to a misspelt name."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.errors import UnknownName
from maintenance.core.suggestions import did_you_mean, require_known

TASKS = ("check_disk_space", "check_queue_depths", "trim_streams", "vacuum_analyze")
CHECKS = ("disk", "celery", "redis_activity", "database")


@pytest.mark.parametrize(
    ("given_name", "known", "meant"),
    [
        ("trim_steams", TASKS, "trim_streams"),
        ("VACUUM_ANALYZE", TASKS, "vacuum_analyze"),
        ("vacuum", TASKS, "vacuum_analyze"),
        ("redis", CHECKS, "redis_activity"),
        ("streams", TASKS, "trim_streams"),
        ("celry", CHECKS, "celery"),
    ],
)
def test_the_nearest_name_is_suggested(given_name: str, known: tuple[str, ...], meant: str) -> None:
    assert did_you_mean(given_name, known) == f'Did you mean "{meant}"?'


def test_a_name_like_no_other_gets_them_all() -> None:
    assert did_you_mean("xyzzy", ["b", "a"]) == "Known: a, b."


def test_a_long_list_is_cut() -> None:
    answer = did_you_mean("xyzzy", [f"name{n:03}" for n in range(100)])

    assert answer.endswith("name039 and 60 more.")


def test_where_nothing_is_known_that_is_said() -> None:
    assert did_you_mean("own", []) == "None is configured."


def test_an_empty_name_is_no_beginning_of_another() -> None:
    assert did_you_mean("", ["alpha", "beta"]) == "Known: alpha, beta."


def test_an_unknown_name_is_refused_with_its_kind_and_a_suggestion() -> None:
    with pytest.raises(UnknownName) as refusal:
        require_known("check", "dsk", CHECKS)

    assert str(refusal.value) == 'Unknown check "dsk". Did you mean "disk"?'


@given(st.lists(st.text(min_size=1), min_size=1))
def test_a_known_name_comes_back_as_it_is(names: list[str]) -> None:
    assert require_known("name", names[0], names) == names[0]


@given(st.text(), st.lists(st.text()))
def test_a_suggestion_can_be_made_for_any_name(name: str, known: list[str]) -> None:
    answer = did_you_mean(name, known)

    assert answer.startswith(("Did you mean", "Known: ", "None is configured."))
