"""The page of settings: every section of the configuration with keys, values, defaults and reasons."""

import inspect
from collections.abc import Iterator, Mapping
from typing import Any, get_args, get_origin

from annotated_types import Ge, Gt, Le, Lt, MinLen
from pydantic.fields import FieldInfo

from docs.reference_from_code.markdown import code, page, prose, table
from docs.reference_from_code.source import reasons_of_class
from docs.reference_from_code.types_in_words import is_mapping, type_words
from maintenance.conf.values import Section
from maintenance.conf.whole import Configuration

_LIMITS = {Ge: ("ge", "at least"), Gt: ("gt", "above"), Le: ("le", "at most"), Lt: ("lt", "below")}

_INTRODUCTION = """
One mapping configures everything: `MAINTENANCE` in Django's settings, or `maintenance.toml` beside the service.
Keys and checks are the same. All faults are told at once, an unknown key with the one that was probably meant.
`maintenance.example.toml` shows most of them at work.

This page is written from the models that check the configuration (`maintenance/conf`).
"""


def settings_page() -> str:
    """Return the page."""
    return page("Settings", _INTRODUCTION.strip(), *_sections())


def sections() -> Iterator[tuple[str, type[Section]]]:
    """Yield path and model of every section, each model once, the whole configuration first."""
    seen: set[type[Section]] = set()
    waiting: list[tuple[str, type[Section]]] = [("", Configuration)]
    while waiting:
        path, model = waiting.pop(0)
        if model in seen:
            continue
        seen.add(model)
        yield path, model
        below = []
        for name, field in model.model_fields.items():
            for inner, is_named in _inner_sections(field.annotation):
                step = f"{path}.{name}" if path else name
                below.append((f"{step}.<name>" if is_named else step, inner))
        waiting = below + waiting


def _inner_sections(annotation: Any) -> Iterator[tuple[type[Section], bool]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation, False
        return
    for part in get_args(annotation):
        for inner, _is_named in _inner_sections(part):
            yield inner, get_origin(annotation) is not tuple and is_mapping(get_origin(annotation))


def _sections() -> Iterator[str]:
    for path, model in sections():
        yield f"## {code(f'[{path}]') if path else 'The whole'}"
        yield prose(inspect.getdoc(model) or "")
        yield table(("key", "value", "default", "reason"), _rows(model))


def _rows(model: type[Section]) -> Iterator[tuple[str, str, str, str]]:
    comments = reasons_of_class(model)
    for name, field in model.model_fields.items():
        yield code(name), value_words(field), default_words(field), prose(comments.get(name, ""))


def value_words(field: FieldInfo) -> str:
    """Say what a key takes."""
    limits = [words for mark in field.metadata for words in _limit_words(mark)]
    return ", ".join([type_words(field.annotation, field.metadata), *limits])


def _limit_words(mark: Any) -> Iterator[str]:
    if isinstance(mark, MinLen):
        yield "at least one" if mark.min_length == 1 else f"at least {mark.min_length}"
    for kind, (attribute, words) in _LIMITS.items():
        if isinstance(mark, kind):
            yield f"{words} {getattr(mark, attribute):,}"


def default_words(field: FieldInfo) -> str:
    """Say what holds where a key is left out."""
    if field.is_required():
        return "must be given"
    return _value_words(field.get_default(call_default_factory=True, validated_data={}))


def _value_words(value: Any) -> str:
    if value is None or value in ("", (), {}):
        return "none"
    if isinstance(value, Section):
        return "that of its keys"
    if isinstance(value, Mapping | tuple):
        return ", ".join(code(str(each)) for each in value)
    if isinstance(value, bool):
        return code(str(value).lower())
    return code(f"{value:,}".replace(",", "_") if isinstance(value, int) else str(value))
