"""Options of tasks, checked where they enter."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from maintenance.core.errors import InvalidOptions
from maintenance.core.options import DryRunOption, NoOptions, parse_options


@dataclass(frozen=True, slots=True)
class TrimOptions:
    """Options as a task has them."""

    families: tuple[str, ...] = ()
    limit: int | None = None
    ratio: float = 0.2
    dry_run: bool = False


def faults_of(given_options: dict[str, object]) -> str:
    with pytest.raises(InvalidOptions) as refusal:
        parse_options(TrimOptions, given_options)
    return str(refusal.value)


def test_what_is_not_given_has_its_default() -> None:
    assert parse_options(TrimOptions, {}) == TrimOptions()
    assert parse_options(NoOptions, {}) == NoOptions()


def test_what_json_and_the_command_line_give_becomes_the_declared_type() -> None:
    parsed = parse_options(
        TrimOptions, {"families": ["home"], "limit": "5", "ratio": "0.5", "dry_run": "true"}
    )

    assert parsed == TrimOptions(("home",), 5, 0.5, True)


def test_an_unknown_option_gets_a_suggestion() -> None:
    assert faults_of({"dryrun": True}) == 'Unknown option "dryrun". Did you mean "dry_run"?'


def test_an_option_of_a_task_that_takes_none_is_refused() -> None:
    with pytest.raises(InvalidOptions, match="None is configured"):
        parse_options(NoOptions, {"limit": 1})


def test_every_fault_is_told_at_once() -> None:
    text = faults_of({"limit": "many", "ratio": []})

    assert 'Option "limit"' in text
    assert "got 'many'" in text
    assert 'Option "ratio"' in text


def test_every_unknown_option_is_told_at_once() -> None:
    text = faults_of({"familis": [], "limt": 3})

    assert 'Did you mean "families"?' in text
    assert 'Did you mean "limit"?' in text


@given(st.dictionaries(st.text(max_size=12), st.none() | st.integers() | st.text(), max_size=4))
def test_options_are_either_taken_or_refused_with_a_sentence(
    given_options: dict[str, object],
) -> None:
    if set(given_options) - {"dry_run"}:
        with pytest.raises(InvalidOptions, match="Unknown option"):
            parse_options(DryRunOption, given_options)
    elif given_options.get("dry_run", False) in {True, False, "true", "off"}:
        assert isinstance(parse_options(DryRunOption, given_options).dry_run, bool)
