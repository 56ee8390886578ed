"""The page of findings: every code that a report may hold, read from the calls that make them."""

import ast
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field

from docs.reference_from_code.markdown import code, page, table
from docs.reference_from_code.source import Module, argument, modules, name_of, texts
from maintenance.runbooks.links import RUNBOOK_OF_CODE

_INTRODUCTION = """
A code is stable: mutes, alarms and the API go by it. One with `<...>` stands for a family whose last word is
known only when it is found; the severity of others may depend on what was measured. *Withheld* is one that says what a number needs (`unavailable: ...`).
"""

_MAKERS = ("Finding", "unavailable")
_SEVERITIES = ("OK", "INFO", "WARNING", "CRITICAL")


@dataclass
class Kind:
    """One code: where it comes from, and what severities stand beside it in the source."""

    subjects: set[str] = field(default_factory=set)
    severities: set[str] = field(default_factory=set)
    is_withheld: bool = False


def findings_page() -> str:
    """Return the page."""
    return page("Findings", _INTRODUCTION.strip(), *_subjects(kinds()))


def kinds() -> dict[str, Kind]:
    """Return every code of the package."""
    found: dict[str, Kind] = defaultdict(Kind)
    for module in modules():
        for call in module.calls(*_MAKERS):
            given = argument(call, 0, "code")
            for name in texts(module, given) or _given_by_callers(module, given):
                kind = found[name]
                kind.subjects.add(module.subject)
                if name_of(call.func) == "unavailable":
                    kind.is_withheld = True
                else:
                    kind.severities |= _severities(argument(call, 1, "severity"))
    return dict(found)


def _given_by_callers(module: Module, given: ast.expr | None) -> Iterator[str]:
    """Yield what a function's parameter is where that function is called in the same file.

    An attribute or an item of a table is anything that a code may be in the file.
    """
    if not isinstance(given, ast.Name):
        return
    for function in ast.walk(module.tree):
        if not isinstance(function, ast.FunctionDef):
            continue
        names = [each.arg for each in (*function.args.args, *function.args.kwonlyargs)]
        if given.id in names and any(node is given for node in ast.walk(function)):
            for call in module.calls(function.name):
                yield from texts(module, argument(call, names.index(given.id), given.id))


def _severities(expression: ast.expr | None) -> set[str]:
    if expression is None:
        return set()
    return {
        node.attr.lower()
        for node in ast.walk(expression)
        if isinstance(node, ast.Attribute) and node.attr in _SEVERITIES
    }


def _subjects(found: dict[str, Kind]) -> Iterator[str]:
    for subject in sorted({each for kind in found.values() for each in kind.subjects}):
        rows = [
            (code(name), _severity_words(kind), _runbook(name))
            for name, kind in sorted(found.items())
            if subject in kind.subjects
        ]
        yield f"## {subject}"
        yield table(("code", "severity", "runbook"), rows)


def _severity_words(kind: Kind) -> str:
    in_order = [word.lower() for word in _SEVERITIES if word.lower() in kind.severities]
    return ", ".join([*in_order, *(["withheld"] if kind.is_withheld else [])]) or "as measured"


def _runbook(name: str) -> str:
    book = RUNBOOK_OF_CODE.get(name)
    return f"[{book.name}](../../runbooks.md#{book.name})" if book else ""
