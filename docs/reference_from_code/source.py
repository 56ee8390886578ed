"""What stands in source files beside the code itself: comments, and calls with their literals."""

import ast
import inspect
import io
import textwrap
import tokenize
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

PACKAGE = Path(__file__).parents[2] / "maintenance"


def reasons(source: str) -> dict[str, str]:
    """Return by name the comments of assignments: those above a line, then the one at its end.

    ``source`` is a module or a class. A comment belongs to the assignment that follows it without an
    empty line; a line of a heading (``# --- ... ---``) belongs to none.
    """
    comments = {
        token.start[0]: token.string.lstrip("#: ").strip()
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT and "---" not in token.string
    }
    lines = source.splitlines()
    found = {}
    for name, statement in _assignments(ast.parse(source)):
        words = [
            comments[number]
            for number in range(statement.lineno, (statement.end_lineno or 0) + 1)
            if number in comments
        ]
        above = statement.lineno - 1
        while above in comments and lines[above - 1].lstrip().startswith("#"):
            words.insert(0, comments[above])
            above -= 1
        if words:
            found[name] = " ".join(words)
    return found


def _assignments(tree: ast.Module) -> Iterator[tuple[str, ast.stmt]]:
    """Yield the assignments of a module, or of the one class that it consists of."""
    first = tree.body[0] if tree.body else None
    body = first.body if isinstance(first, ast.ClassDef) and len(tree.body) == 1 else tree.body
    for statement in body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement.target.id, statement
        elif isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name):
            yield statement.targets[0].id, statement


def reasons_of_class(cls: type) -> dict[str, str]:
    """Return the comments of a class's own fields, see :func:`reasons`."""
    return reasons(textwrap.dedent(inspect.getsource(cls)))


@dataclass(frozen=True, slots=True)
class Module:
    """One file of the package, read and not imported."""

    name: str
    tree: ast.Module
    constants: Mapping[str, str] = field(default_factory=dict)

    @property
    def subject(self) -> str:
        """The first part of its name below the package."""
        return self.name.split(".")[1]

    def calls(self, *names: str) -> Iterator[ast.Call]:
        """Yield the calls of functions and classes with one of these names."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and name_of(node.func) in names:
                yield node


def name_of(function: ast.expr) -> str:
    """Return the last part of what is called: ``Finding`` of ``findings.Finding``."""
    if isinstance(function, ast.Attribute):
        return function.attr
    return function.id if isinstance(function, ast.Name) else ""


@cache
def modules(package: Path = PACKAGE) -> tuple[Module, ...]:
    """Return all files of the package but migrations, in the order of their names."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package.parent).with_suffix("").parts
        if "migrations" not in parts:
            tree = ast.parse(path.read_text())
            found.append(Module(".".join(parts), tree, _constants(tree)))
    return tuple(found)


def _constants(tree: ast.Module) -> dict[str, str]:
    found = {}
    for name, statement in _assignments(tree):
        value = getattr(statement, "value", None)
        if isinstance(value, ast.Constant) and isinstance(value.value, str | int):
            found[name] = str(value.value)
    return found


def argument(call: ast.Call, position: int, name: str) -> ast.expr | None:
    """Return one argument of a call, given by name or by position."""
    for keyword in call.keywords:
        if keyword.arg == name:
            return keyword.value
    return call.args[position] if len(call.args) > position else None


def texts(module: Module, expression: ast.expr | None) -> list[str]:
    """Return what text an expression may be, as far as reading tells.

    A part that is only known at run time is ``<name>``. Nothing where it is a variable.
    """
    match expression:
        case ast.Constant(value=str(text)):
            return [text]
        case ast.Name(id=name) if name in module.constants:
            return [module.constants[name]]
        case ast.IfExp(body=body, orelse=orelse):
            return [*texts(module, body), *texts(module, orelse)]
        case ast.JoinedStr(values=values):
            return ["".join(_part(module, value) for value in values)]
    return []


def _part(module: Module, value: ast.expr) -> str:
    if isinstance(value, ast.Constant):
        return str(value.value)
    inner = value.value if isinstance(value, ast.FormattedValue) else value
    known = texts(module, inner)
    if len(known) == 1:
        return known[0]
    names = [node for node in ast.walk(inner) if isinstance(node, ast.Name | ast.Attribute)]
    word = names[0].attr if names and isinstance(names[0], ast.Attribute) else ""
    if word in {"value", "replace", "lower", "name"} or not word:
        word = next((n.id for n in reversed(names) if isinstance(n, ast.Name)), "...")
    return f"<{word}>"
