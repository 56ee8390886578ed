"""From a task's options dataclass to form fields: the types and docstring say all there is."""

import re
from collections.abc import Collection
from dataclasses import MISSING, Field, fields
from enum import Enum
from types import NoneType, UnionType
from typing import Annotated, Any, Literal, Union, get_args, get_origin, get_type_hints

from django import forms
from django.utils.translation import gettext as _

_UNITS = {"bytes": "bytes", "seconds": "seconds", "ms": "milliseconds", "ratio": "0 to 1"}
_NUMBER_FIELDS: dict[type, type[forms.Field]] = {int: forms.IntegerField, float: forms.FloatField}


class LinesField(forms.CharField):
    """Several texts, one a line; empty lines and surrounding space do not count."""

    widget = forms.Textarea(attrs={"rows": 3, "cols": 40})

    def to_python(self, value: Any) -> list[str] | None:  # type: ignore[override]
        """Return the lines, ``None`` where there is none."""
        lines = [line.strip() for line in str(value or "").splitlines()]
        return [line for line in lines if line] or None

    def prepare_value(self, value: Any) -> Any:
        """Write a default or a schedule's list as lines."""
        return "\n".join(map(str, value)) if isinstance(value, list | tuple) else value


def option_fields(options_type: type[Any], initial: dict[str, Any]) -> dict[str, forms.Field]:
    """Return a form field for each option, in order, ``dry_run`` last.

    ``initial`` overrides the defaults. A field left empty stands for the option's default.
    """
    hints = get_type_hints(options_type, include_extras=True)
    sentences = _sentences(options_type)
    ordered = sorted(fields(options_type), key=lambda f: f.name == "dry_run")
    return {
        option.name: _described(
            _field(hints[option.name]),
            option,
            initial.get(option.name, _default(option)),
            sentences.get(option.name, ""),
        )
        for option in ordered
    }


def _default(option: "Field[Any]") -> Any:
    if option.default is not MISSING:
        return option.default
    return option.default_factory() if option.default_factory is not MISSING else None


def _field(hint: Any) -> forms.Field:
    hint, optional = _without_none(hint)
    if hint is bool:
        return _three_way() if optional else forms.BooleanField()
    if hint in _NUMBER_FIELDS:
        return _NUMBER_FIELDS[hint]()
    if hint is str:
        return forms.CharField()
    if choices := _choices(hint):
        return forms.ChoiceField(
            choices=[("", _("as configured")), *choices] if optional else choices
        )
    if _is_collection_of_text(hint):
        return LinesField()
    return forms.JSONField()


def _three_way() -> forms.Field:
    return forms.TypedChoiceField(
        choices=[("", _("as configured")), ("true", _("yes")), ("false", _("no"))],
        coerce=lambda text: text == "true",
        empty_value=None,
    )


def _without_none(hint: Any) -> tuple[Any, bool]:
    """Return the type without ``Annotated`` and ``None``, and whether ``None`` was allowed."""
    while get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    if get_origin(hint) in (Union, UnionType):
        rest = [arg for arg in get_args(hint) if arg is not NoneType]
        if len(rest) == 1:
            return _without_none(rest[0])[0], len(rest) < len(get_args(hint))
    return hint, False


def _choices(hint: Any) -> list[tuple[str, str]]:
    if get_origin(hint) is Literal:
        return [(str(value), str(value).replace("_", " ")) for value in get_args(hint)]
    if isinstance(hint, type) and issubclass(hint, Enum):
        return [(str(member.value), member.name.replace("_", " ").lower()) for member in hint]
    return []


def _is_collection_of_text(hint: Any) -> bool:
    origin = get_origin(hint)
    if not (isinstance(origin, type) and issubclass(origin, Collection)):
        return False
    return all(arg in (str, Ellipsis) or get_origin(arg) is Literal for arg in get_args(hint))


def _described(
    field: forms.Field, option: "Field[Any]", initial: Any, sentence: str
) -> forms.Field:
    has_default = option.default is not MISSING or option.default_factory is not MISSING
    field.required = not has_default and not isinstance(field, forms.BooleanField)
    field.widget.is_required = field.required
    field.label = label_of(option.name)
    field.initial = _shown(initial)
    field.help_text = sentence
    if isinstance(field, LinesField):
        field.help_text = " ".join(filter(None, [sentence, _("One a line.")]))
    return field


def _shown(value: Any) -> Any:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, float) and value.is_integer():
        return int(value)  # 3600, not 3600.0
    return value


def label_of(name: str) -> str:
    """Return an option's name in words, with its unit: ``Minimum (bytes)``."""
    stem, _underscore, ending = name.rpartition("_")
    if stem and ending in _UNITS:
        return f"{stem.replace('_', ' ').capitalize()} ({_UNITS[ending]})"
    return name.replace("_", " ").capitalize()


def _sentences(options_type: type[Any]) -> dict[str, str]:
    """Return what the docstring says of each option: the sentence that begins with its name."""
    text = " ".join((options_type.__doc__ or "").split())
    found = re.findall(r"(?:^|(?<=\. ))``(\w+)`` (?:is |are )?(.+?\.)(?=\s|$)", text)
    said = {name: sentence.replace("``", "") for name, sentence in found}
    return {name: f"{sentence[0].upper()}{sentence[1:]}" for name, sentence in said.items()}
