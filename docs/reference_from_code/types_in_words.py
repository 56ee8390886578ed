"""What a setting or an option takes, in an operator's words."""

import types
from collections.abc import Mapping
from typing import Any, Literal, Union, get_args, get_origin

from docs.reference_from_code.markdown import code
from maintenance.conf.values import Section

#: What a validator of :mod:`maintenance.conf` lets through.
_CHECKED = {
    "_a_reference_or_url": 'URL, or a reference "env:NAME" or "file:/path"',
    "_a_reference": 'reference "env:NAME" or "file:/path"',
    "_over_http": 'URL "https://...", or a reference "env:NAME"',
    "_a_timezone": "time zone",
    "_a_weekday": "weekday",
    "_a_time_of_day": "time of day",
    "_a_rate": 'rate, as "10/m"',
    "_an_address": "mail address",
    "_an_address_or_none": "mail address",
    "_a_base_url": 'URL "https://..."',
}
_PLAIN = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def type_words(annotation: Any, metadata: Any = ()) -> str:
    """Say what an annotation lets through; ``metadata`` is pydantic's, of the field itself."""
    for mark in metadata:
        checked = getattr(getattr(mark, "func", None), "__name__", "")
        if checked in _CHECKED:
            return _CHECKED[checked]
    if hasattr(annotation, "__metadata__"):
        return type_words(annotation.__origin__, annotation.__metadata__)
    if isinstance(annotation, type) and issubclass(annotation, Section):
        return "table, see below"
    if get_args(annotation):
        return _composed(get_origin(annotation), get_args(annotation))
    return _PLAIN.get(annotation, getattr(annotation, "__name__", str(annotation)))


def _composed(origin: Any, inner: tuple[Any, ...]) -> str:
    if origin is Literal:
        return "one of " + ", ".join(code(str(choice)) for choice in inner)
    if origin in {Union, types.UnionType}:
        return " or ".join(type_words(part) for part in inner if part is not type(None))
    if is_mapping(origin):
        return f"by name: {type_words(inner[1])}"
    return f"list of: {type_words(inner[0])}"


def is_mapping(origin: Any) -> bool:
    """Tell whether this is the origin of an annotation of mappings."""
    return isinstance(origin, type) and issubclass(origin, Mapping)
