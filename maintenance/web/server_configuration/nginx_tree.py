"""An Nginx configuration as a tree: directives, blocks, and which of them holds where.

Read by crossplane, with every file that is included.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from maintenance.core.errors import Skipped

NEEDS_CROSSPLANE = "the package crossplane (pip install celery-maintenance[nginx])"


@dataclass(frozen=True, slots=True)
class Directive:
    """One directive with its arguments; ``block`` is empty for a simple one."""

    name: str
    arguments: tuple[str, ...]
    line: int
    file: str
    block: tuple["Directive", ...] = ()

    @property
    def place(self) -> str:
        """Where it stands: ``/etc/nginx/nginx.conf:12``."""
        return f"{self.file}:{self.line}"


@dataclass(frozen=True, slots=True)
class Scope:
    """A block together with the blocks around it, the innermost last."""

    blocks: tuple[Directive, ...]

    @property
    def block(self) -> Directive:
        """The innermost block."""
        return self.blocks[-1]

    def own(self, name: str) -> list[Directive]:
        """Return the directives of this name in the innermost block itself."""
        return [each for each in self.block.block if each.name == name]

    def effective(self, name: str) -> list[Directive]:
        """Return those that hold here: the ones of the nearest level that has any.

        So Nginx inherits, also where several add up on one level (add_header, proxy_set_header).
        """
        for block in reversed(self.blocks):
            if found := [each for each in block.block if each.name == name]:
                return found
        return []

    def outer(self, name: str) -> list[Directive]:
        """Return those that would hold if the innermost block had none."""
        return Scope(self.blocks[:-1]).effective(name) if len(self.blocks) > 1 else []

    def value(self, name: str, default: str = "") -> str:
        """Return the first argument of the directive that holds, ``default`` where none does."""
        found = self.effective(name)
        return found[-1].arguments[0] if found and found[-1].arguments else default

    def within(self, name: str) -> Iterator["Scope"]:
        """Yield the blocks of this name inside, at whatever depth."""
        for each in self.block.block:
            inner = Scope((*self.blocks, each))
            if each.name == name:
                yield inner
            if each.block:
                yield from inner.within(name)


@dataclass(frozen=True, slots=True)
class NginxConfiguration:
    """Everything that was read. ``faults`` are sentences on files and lines that could not be."""

    main: Scope
    faults: tuple[str, ...] = ()

    @property
    def http(self) -> Scope:
        """The http block; of a file that is included into it, the file itself."""
        found = [each for each in self.main.block.block if each.name == "http"]
        return Scope((*self.main.blocks, found[0])) if found else self.main

    @property
    def is_whole(self) -> bool:
        """Whether this is the main file, with its settings of processes."""
        return any(each.name in {"http", "events"} for each in self.main.block.block)

    def all_named(self, name: str) -> list[Directive]:
        """Return every directive of this name, wherever it stands."""
        return list(_named(self.main.block.block, name))


def _named(directives: Sequence[Directive], name: str) -> Iterator[Directive]:
    for each in directives:
        if each.name == name:
            yield each
        yield from _named(each.block, name)


def read_nginx(path: Path) -> NginxConfiguration:
    """Read a file with all that it includes; what cannot be read of it becomes a fault.

    Raises ``OSError`` where the file itself cannot be read, and ``Skipped`` without crossplane.
    """
    try:
        import crossplane  # noqa: PLC0415 - an optional extra
    except ImportError:
        raise Skipped(f"reading Nginx needs {NEEDS_CROSSPLANE}") from None
    path.open().close()
    try:
        payload: Mapping[str, Any] = crossplane.parse(
            str(path), combine=True, catch_errors=True, check_ctx=False, check_args=False
        )
    except (RecursionError, UnicodeDecodeError) as error:
        fault = f"{path} cannot be read: {type(error).__name__}"
        return NginxConfiguration(Scope((Directive("main", (), 0, str(path)),)), (fault,))
    directives = [_directive(each) for part in payload["config"] for each in part.get("parsed", ())]
    main = Directive("main", (), 0, str(path), tuple(directives))
    return NginxConfiguration(Scope((main,)), tuple(map(_fault, payload["errors"])))


def _directive(parsed: Mapping[str, Any]) -> Directive:
    return Directive(
        name=parsed["directive"],
        arguments=tuple(parsed["args"]),
        line=int(parsed["line"]),
        file=str(parsed.get("file", "")),
        block=tuple(_directive(each) for each in parsed.get("block") or ()),
    )


def _fault(error: Mapping[str, Any]) -> str:
    line = f":{error['line']}" if error.get("line") else ""
    return f"{error['file']}{line}: {' '.join(str(error['error']).split())}"
