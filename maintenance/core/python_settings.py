"""Settings of a Python file, read without running it.

What a file of constants says is known; what depends on the environment, on a condition or on a
function is named as unknown, with the reason. Nothing of the file is executed.
"""

import ast
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from maintenance.core.errors import ConfigurationError

#: A file of settings has a few kilobytes.
LARGEST_FILE_BYTES = 1024**2
#: No setting is larger; without a limit one line could compute for ever.
LARGEST_NUMBER = 10**15
LONGEST_TEXT = 10_000

_OPERATORS: Mapping[type[ast.operator], Callable[[Any, Any], Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Div: operator.truediv,
    ast.Mod: operator.mod,
}
_FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "int": int, "float": float, "str": str, "bool": bool, "min": min, "max": max, "round": round,
}  # fmt: skip
_CPU_COUNT = "cpu_count"


@dataclass(frozen=True, slots=True)
class PythonSettings:
    """``values`` by name, and of those in ``unknown`` why they cannot be read.

    ``counts_cpus`` are names whose value was computed from the number of processors.
    ``imports_all`` says that ``from x import *`` may bring more.
    """

    values: Mapping[str, Any] = field(default_factory=dict)
    unknown: Mapping[str, str] = field(default_factory=dict)
    counts_cpus: frozenset[str] = frozenset()
    imports_all: bool = False


class _Unknown(Exception):
    """Raised for an expression whose value only running it would tell."""


def read_python_settings(path: Path, cpu_count: int | None) -> PythonSettings:
    """Read a file. ``cpu_count`` is what the functions of that name return on its machine.

    Raises ``OSError``, and :class:`ConfigurationError` for what is no Python file of settings.
    """
    size = path.stat().st_size
    if size > LARGEST_FILE_BYTES:
        raise ConfigurationError(f"{path} has {size:,} bytes: that is no file of settings.")
    try:
        return python_settings(path.read_text(encoding="utf-8"), cpu_count)
    except (SyntaxError, UnicodeDecodeError, ValueError) as error:
        raise ConfigurationError(f"{path} is no Python file that can be read: {error}.") from None


def python_settings(source: str, cpu_count: int | None) -> PythonSettings:
    """Read settings from source text. Raises ``SyntaxError`` and ``ValueError``."""
    reader = _Reader(cpu_count)
    for statement in ast.parse(source).body:
        reader.read(statement)
    return PythonSettings(
        values={name: v for name, v in reader.values.items() if name not in reader.unknown},
        unknown=reader.unknown,
        counts_cpus=frozenset(reader.counts_cpus),
        imports_all=reader.imports_all,
    )


class _Reader:
    """Follows assignments at the top of a module, in their order."""

    def __init__(self, cpu_count: int | None) -> None:
        self.values: dict[str, Any] = {}
        self.unknown: dict[str, str] = {}
        self.counts_cpus: set[str] = set()
        self.imports_all = False
        self._cpu_count = cpu_count
        self._saw_cpu_count = False

    def read(self, statement: ast.stmt) -> None:
        match statement:
            case ast.ImportFrom(names=[ast.alias(name="*")]):
                self.imports_all = True
            case ast.Assign(targets=targets, value=value):
                for target in targets:
                    self._assign(target, value)
            case ast.AnnAssign(target=target, value=ast.expr() as value):
                self._assign(target, value)
            case ast.AugAssign(target=target, op=op, value=value):
                self._assign(target, ast.BinOp(_load(target), op, value))
            case ast.Expr(value=ast.Call(func=ast.Attribute(attr="update"), keywords=keywords)):
                self._update(keywords)
            case ast.If() | ast.Try() | ast.With() | ast.For() | ast.While():
                self._under_a_condition(statement)

    def _assign(self, target: ast.expr, value: ast.expr) -> None:
        name = _name_of(target)
        if name:
            self._note(name, value)
        elif isinstance(target, ast.Tuple | ast.List):
            for element in target.elts:
                if inner := _name_of(element):
                    self._forget(inner, "is assigned together with others")

    def _update(self, keywords: list[ast.keyword]) -> None:
        """Read ``app.conf.update(name=value)``."""
        for keyword in keywords:
            if keyword.arg:
                self._note(keyword.arg, keyword.value)

    def _note(self, name: str, value: ast.expr) -> None:
        self._saw_cpu_count = False
        try:
            self.values[name] = self._value(value)
        except _Unknown as reason:
            self._forget(name, str(reason))
            return
        self.unknown.pop(name, None)
        self.counts_cpus.discard(name)
        if self._saw_cpu_count:
            self.counts_cpus.add(name)

    def _forget(self, name: str, reason: str) -> None:
        self.values.pop(name, None)
        self.unknown[name] = reason

    def _under_a_condition(self, statement: ast.stmt) -> None:
        for node in ast.walk(statement):
            if isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
                targets = node.targets if isinstance(node, ast.Assign) else [node.target]
                for name in filter(None, map(_name_of, targets)):
                    self._forget(name, "is set under a condition or in a block")

    def _value(self, node: ast.expr) -> Any:
        match node:
            case ast.Constant(value=value):
                return value
            case ast.Name(id=name):
                return self._named(name)
            case ast.UnaryOp(op=ast.USub(), operand=operand):
                return self._computed(operator.neg, self._value(operand))
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return self._computed(_OPERATORS[type(op)], self._value(left), self._value(right))
            case ast.Call():
                return self._called(node)
        return self._collected(node)

    def _collected(self, node: ast.expr) -> Any:
        match node:
            case ast.Tuple(elts=elements) | ast.List(elts=elements) | ast.Set(elts=elements):
                return [self._value(element) for element in elements]
            case ast.Dict(keys=keys, values=values):
                return {
                    str(self._value(key)): self._value(value)
                    for key, value in zip(keys, values, strict=True)
                    if key is not None
                }
        raise _Unknown(f"is computed ({_source(node)})")

    def _named(self, name: str) -> Any:
        if name in self.unknown:
            raise _Unknown(f"follows {name}, which {self.unknown[name]}")
        if name not in self.values:
            raise _Unknown(f"follows {name}, which is not in this file")
        if name in self.counts_cpus:
            self._saw_cpu_count = True
        return self.values[name]

    def _called(self, node: ast.Call) -> Any:
        function = _source(node.func)
        if function.rpartition(".")[2] == _CPU_COUNT:
            if self._cpu_count is None:
                raise _Unknown("counts the processors of its machine")
            self._saw_cpu_count = True
            return self._cpu_count
        if function in {"os.environ.get", "os.getenv", "environ.get", "getenv"}:
            raise _Unknown(f"is read from the environment ({_source(node)})")
        if function in _FUNCTIONS and not node.keywords:
            return self._computed(_FUNCTIONS[function], *map(self._value, node.args))
        raise _Unknown(f"is computed ({_source(node)})")

    def _computed(self, function: Callable[..., Any], *values: Any) -> Any:
        texts = [v for v in values if isinstance(v, str | list)]
        if len(texts) < len(values) and texts and function is operator.mul:
            raise _Unknown("repeats a text")
        try:
            result = function(*values)
        except (TypeError, ValueError, ArithmeticError) as error:
            raise _Unknown(f"cannot be computed: {error}") from None
        too_large = isinstance(result, int | float) and abs(result) > LARGEST_NUMBER
        if too_large or (isinstance(result, str | list) and len(result) > LONGEST_TEXT):
            raise _Unknown("is larger than any setting")
        return result


def _name_of(target: ast.expr) -> str:
    """Return ``x`` of ``x = ...``, ``app.conf.x = ...`` and ``app.conf["x"] = ...``, else nothing."""
    match target:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=ast.Attribute(attr="conf"), attr=name):
            return name
        case ast.Subscript(value=ast.Attribute(attr="conf"), slice=ast.Constant(value=str(name))):
            return name
    return ""


def _load(target: ast.expr) -> ast.expr:
    return ast.Name(_name_of(target), ast.Load())


def _source(node: ast.expr) -> str:
    text = " ".join(ast.unparse(node).split())
    return text if len(text) <= 60 else text[:57] + "..."
