"""A form made from a dataclass gives back exactly what the dataclass takes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Annotated, Any, Literal

import pytest
from django import forms
from hypothesis import given
from hypothesis import strategies as st
from pydantic import Field

from maintenance.admin.option_fields import LinesField, label_of, option_fields
from maintenance.admin.task_form import TaskForm
from maintenance.conf import Configuration
from maintenance.core.backoff import RetryPolicy
from maintenance.core.reports import Report
from maintenance.core.runs.registry import TargetKind, TaskSpec


class Colour(StrEnum):
    RED = "red"
    GREEN = "green"


@dataclass(frozen=True, slots=True)
class Everything:
    """``mode`` says how. ``limit_bytes`` is where it stops; 0 means nowhere.

    ``names`` are the ones to take. A sentence about nothing in particular.
    """

    dry_run: bool = False
    mode: Literal["fast", "thorough"] = "fast"
    colour: Colour = Colour.RED
    limit_bytes: Annotated[int, Field(ge=0)] = 5
    share_ratio: float | None = None
    names: tuple[str, ...] = ("a", "b")
    parts: tuple[Literal["look", "write"], ...] = ("look",)
    again: bool | None = None
    keep: bool = True
    word: str = ""
    extra: Mapping[str, int] = field(default_factory=dict)


def spec(options: type[Any] = Everything, *, writes: bool = True) -> TaskSpec:
    return TaskSpec(
        name="maintenance.everything",
        function=lambda _job: Report("", ""),
        queue="low",
        target_kind=TargetKind.NONE,
        options_type=options,
        summary="",
        writes=writes,
        retry=RetryPolicy(),
        rate_limit=None,
        soft_time_limit_seconds=1.0,
        time_limit_seconds=2.0,
    )


def submitted(**changes: str) -> TaskForm:
    """Return the form as a browser sends it back, with some answers changed."""
    initial = TaskForm(spec(), Configuration())
    data = {}
    for bound in initial:
        value = bound.value()
        if not isinstance(bound.field, forms.BooleanField):
            data[bound.html_name] = "" if value is None else str(value)
        elif value:
            data[bound.html_name] = "on"
    data.update({f"option-{name}": value for name, value in changes.items()})
    return TaskForm(spec(), Configuration(), {k: v for k, v in data.items() if v != "off"})


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("dry_run", forms.BooleanField),
        ("mode", forms.ChoiceField),
        ("colour", forms.ChoiceField),
        ("limit_bytes", forms.IntegerField),
        ("share_ratio", forms.FloatField),
        ("names", LinesField),
        ("parts", LinesField),
        ("again", forms.TypedChoiceField),
        ("word", forms.CharField),
        ("extra", forms.JSONField),
    ],
)
def test_each_type_has_its_field(name: str, kind: type[forms.Field]) -> None:
    assert type(option_fields(Everything, {})[name]) is kind


def test_dry_run_stands_last_and_is_on_for_a_task_that_writes() -> None:
    form = TaskForm(spec(), Configuration())

    assert list(form.fields)[-1] == "option-dry_run"
    assert form.fields["option-dry_run"].initial is True
    assert TaskForm(spec(writes=False), Configuration()).fields["option-dry_run"].initial is False


def test_what_was_not_changed_is_not_sent() -> None:
    form = submitted()

    assert form.is_valid(), form.errors
    assert form.options == {"dry_run": True}


@pytest.mark.parametrize(
    ("name", "entered", "option"),
    [
        ("mode", "thorough", "thorough"),
        ("colour", "green", "green"),
        ("limit_bytes", "0", 0),
        ("share_ratio", "0.25", 0.25),
        ("names", "one\n\n  two  \n", ["one", "two"]),
        ("parts", "look\nwrite", ["look", "write"]),
        ("again", "false", False),
        ("keep", "off", False),
        ("word", "hello", "hello"),
        ("extra", '{"x": 1}', {"x": 1}),
    ],
)
def test_what_was_changed_is_sent_as_plain_json(name: str, entered: str, option: Any) -> None:
    form = submitted(**{name: entered})

    assert form.is_valid(), form.errors
    assert form.options == {"dry_run": True, name: option}


def test_a_value_that_the_task_refuses_is_refused_here() -> None:
    form = submitted(limit_bytes="-1")

    assert not form.is_valid()
    assert 'Option "limit_bytes"' in str(form.non_field_errors()[0])


def test_only_a_real_run_of_a_task_that_writes_changes_something() -> None:
    careful, real = submitted(), submitted(dry_run="off")

    assert careful.is_valid()
    assert real.is_valid()
    assert not careful.changes_something
    assert real.changes_something


def test_the_docstring_explains_the_fields() -> None:
    fields = option_fields(Everything, {})

    assert fields["mode"].help_text == "Says how."
    assert fields["limit_bytes"].help_text == "Where it stops; 0 means nowhere."
    assert fields["names"].help_text == "The ones to take. One a line."
    assert fields["word"].help_text == ""


@pytest.mark.parametrize(
    ("name", "label"),
    [
        ("dry_run", "Dry run"),
        ("limit_bytes", "Limit (bytes)"),
        ("table_time_limit_seconds", "Table time limit (seconds)"),
        ("bytes", "Bytes"),
    ],
)
def test_a_label_says_the_unit(name: str, label: str) -> None:
    assert label_of(name) == label


@given(st.lists(st.text(min_size=1).filter(lambda text: text.split() == [text])))
def test_lines_come_back_as_they_went_in(names: list[str]) -> None:
    lines = LinesField(required=False)

    assert lines.clean(lines.prepare_value(names)) == (names or None)
