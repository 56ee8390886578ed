"""Where a query was asked for: the line of application code, or of a template, on the stack.

Django's own frames, those of installed packages and of Python itself are passed over. The line in a
template is the one whose node was being rendered, which the view's line could not tell.
"""

import asyncio
import site
import sys
import sysconfig
from functools import cache
from pathlib import Path
from types import CodeType, CoroutineType, FrameType
from typing import Any

import django
from django.template.base import Node

_DJANGO = str(Path(django.__file__).parent)
_OURS = str(Path(__file__).resolve().parents[1])
_PYTHON = tuple(
    {sysconfig.get_path(name) for name in ("stdlib", "platstdlib", "purelib", "platlib")}
    | set(site.getsitepackages())
    | {site.getusersitepackages()}
)
_PACKAGES = frozenset({"site-packages", "dist-packages"})

_RENDERS_A_NODE: CodeType = Node.render_annotated.__code__
_TEMPLATES: str = _RENDERS_A_NODE.co_filename
_NO_INSTRUCTION = -2

#: Frames of a stack that are looked at: deeper ones belong to a server or a recursion.
MAXIMUM_DEPTH = 400

#: Statements that are remembered with where they came from, and the longest: 4 MB at the most.
REMEMBERED_STATEMENTS = 2000
REMEMBERED_TEXT = 2000

#: A file as Python names it, and a line of it; 0 where nothing was found.
CallSite = tuple[str, int]

NOWHERE: CallSite = ("", 0)

# Frames above the first one that is looked at; what the one runs that the line is of; the instruction
# that it was at, and the line.
_found_at: dict[str, tuple[int, CodeType, int, CallSite]] = {}

#: Names of files by whether application code is in them: as many as the process has modules. Those
#: without are public: of most frames one look-up in a set is enough.
foreign_files: set[str] = set()
_own: set[str] = set()


def is_application(file: str) -> bool:
    """Tell whether the file is the site's own, rather than a package's, Django's or ours."""
    if file in _own:
        return True
    if file in foreign_files or file == _TEMPLATES:  # which is looked into: see call_site()
        return False
    found = not (
        file.startswith(("<", _DJANGO + "/", _OURS + "/", *(f"{path}/" for path in _PYTHON)))
        or _PACKAGES.intersection(Path(file).parts)
    )
    (_own if found else foreign_files).add(file)
    return found


def call_site(statement: str, depth: int) -> CallSite:
    """Return the innermost application line that sent ``statement``, from ``depth`` callers up.

    Called for every query, which mostly comes the same way as the last time: the frame is looked at
    first that was found for this statement then. Where it runs the code that it ran then, Django's
    frames below it are taken to be the same ones; only a statement that also comes from a function of
    the site's in their place, so that the stack is as deep, would be found at that function's caller.
    At the same instruction it is on the same line, which Python would have to count from the first.
    """
    known = _found_at.get(statement)
    if known is not None:
        above, code, instruction, site_then = known
        try:
            frame = sys._getframe(depth + 1 + above)
        except ValueError:  # the stack is not as deep this time
            frame = None
        if frame is not None and frame.f_code is code:
            if frame.f_lasti == instruction:
                return site_then
            found = _site_of(frame)
            if found is not None:
                _remember(statement, above, frame, found)
                return found
    return _innermost(statement, sys._getframe(depth + 1))


def _innermost(statement: str, frame: FrameType | None) -> CallSite:
    """Look at one frame after the other, and note where the line was found."""
    foreign = foreign_files
    above = 0
    while frame is not None and above < MAXIMUM_DEPTH:
        if frame.f_code.co_filename not in foreign:
            found = _site_of(frame)
            if found is not None:
                if len(statement) <= REMEMBERED_TEXT:
                    _remember(statement, above, frame, found)
                return found
        frame = frame.f_back
        above += 1
    return NOWHERE


def _remember(statement: str, above: int, frame: FrameType, found: CallSite) -> None:
    if len(_found_at) >= REMEMBERED_STATEMENTS:
        _found_at.clear()
    code = frame.f_code
    # Every node of every template is rendered by the same instruction.
    instruction = _NO_INSTRUCTION if code is _RENDERS_A_NODE else frame.f_lasti
    _found_at[statement] = above, code, instruction, found


def _site_of(frame: FrameType) -> CallSite | None:
    """Return the line of application code or of its template that a frame is at, if it is at one."""
    code = frame.f_code
    if code is _RENDERS_A_NODE:
        return _template_line(frame)
    return (code.co_filename, frame.f_lineno) if is_application(code.co_filename) else None


def _template_line(frame: FrameType) -> CallSite | None:
    """Return the template's line that is being rendered; ``None`` for templates of packages."""
    node = frame.f_locals.get("self")
    origin, token = getattr(node, "origin", None), getattr(node, "token", None)
    name = getattr(origin, "name", None)
    line = getattr(token, "lineno", None)
    if not isinstance(name, str) or not isinstance(line, int) or not is_application(name):
        return None
    return name, line


def awaiting_site(task: "asyncio.Task[Any] | None") -> CallSite:
    """Return the innermost application line that ``task`` waits in.

    A query of an asynchronous view runs in a thread whose stack does not have the view in it.
    """
    found = NOWHERE
    awaited: Any = task.get_coro() if task is not None else None
    depth = MAXIMUM_DEPTH
    while isinstance(awaited, CoroutineType) and depth:
        frame = awaited.cr_frame
        if frame is not None and is_application(frame.f_code.co_filename):
            found = (frame.f_code.co_filename, frame.f_lineno)
        awaited = awaited.cr_await
        depth -= 1
    return found


@cache
def shown_file(file: str) -> str:
    """Return the file as it is shown: below the shortest folder that Python imports from."""
    path = Path(file)
    for folder in sorted((entry or "." for entry in sys.path), key=len):
        root = Path(folder).absolute()
        if len(root.parts) > 1 and path.is_relative_to(root):
            return str(path.relative_to(root))
    return file
