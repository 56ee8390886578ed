"""Every text of the application that is marked for translation, from Python's syntax trees and from templates."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from django.utils.translation.template import templatize

ROOT = Path(__file__).resolve().parent.parent
APPLICATION = ROOT / "maintenance"

#: The functions of django.utils.translation, each with what its arguments are.
_SHAPES = {
    "gettext": ("text",),
    "ngettext": ("text", "plural"),
    "pgettext": ("context", "text"),
    "npgettext": ("context", "text", "plural"),
}
_CALLS = {
    "_": _SHAPES["gettext"],
    "gettext_noop": _SHAPES["gettext"],
    **_SHAPES,
    **{f"{name}_lazy": shape for name, shape in _SHAPES.items()},
}
_IN_TEMPLATE = re.compile(r"\b(?:_|n?p?gettext)\(")


@dataclass(frozen=True, slots=True)
class Marked:
    """One text: ``plural`` and ``context`` are empty where it has none; ``place`` is its file."""

    text: str
    plural: str
    context: str
    place: str


def marked() -> Iterator[Marked]:
    """Yield every marked text of the application, file by file."""
    for path in sorted(APPLICATION.rglob("*")):
        if "migrations" in path.parts:
            continue
        place = path.relative_to(ROOT).as_posix()
        if path.suffix == ".py":
            yield from _in_python(path.read_text(encoding="utf-8"), place)
        elif path.suffix in {".html", ".txt"} and "templates" in path.parts:
            yield from _in_template(path.read_text(encoding="utf-8"), place)


def _in_python(source: str, place: str) -> Iterator[Marked]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            yield from _of_call(node, place)


def _of_call(call: ast.Call, place: str) -> Iterator[Marked]:
    assert isinstance(call.func, ast.Name)
    shape = _CALLS.get(call.func.id)
    if shape is None or not call.args:
        return
    given = {
        name: argument.value
        for name, argument in zip(shape, call.args, strict=False)
        if isinstance(argument, ast.Constant) and isinstance(argument.value, str)
    }
    if "text" in given:
        yield Marked(given["text"], given.get("plural", ""), given.get("context", ""), place)


def _in_template(source: str, place: str) -> Iterator[Marked]:
    """Yield texts of a template, which Django turns into calls between words that are none."""
    text = templatize(source)
    for found in _IN_TEMPLATE.finditer(text):
        call = _call_at(text, found.start())
        if call is not None:
            yield from _of_call(call, place)


def _call_at(text: str, start: int) -> ast.Call | None:
    end = text.find(")", start)
    while end != -1:
        try:
            parsed = ast.parse(text[start : end + 1], mode="eval").body
        except SyntaxError:  # the parenthesis belongs to the text
            end = text.find(")", end + 1)
        else:
            return parsed if isinstance(parsed, ast.Call) else None
    return None
