"""A configuration file as text: what of it can be read in spite of its faults, and where a setting stands.

``tomllib`` ends at the first fault and keeps no positions; whoever tells all that is wrong at once needs
both. Nothing here repeats a line of the file, which may hold a password.
"""

import re
import tomllib
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_PLACE = re.compile(r" \(at (?:line (?P<line>\d+), column \d+|end of document)\)$")
_UNDECODED = re.compile(
    "[\udc80-\udcff]"
)  # what "surrogateescape" makes of bytes that are no UTF-8

#: What to do about what tomllib says (by how its sentence begins); none of it quotes the file.
_MENDS = {
    "Invalid value": 'Text stands in quotes: name = "value".',
    "Illegal character '\\n'": "Close the quotes at the end of the text.",
    "Unterminated string": "Close the quotes where the text ends.",
    "Found invalid character '\\n'": "Close the quotes at the end of the text.",
    "Expected \"'": "Close the quotes where the text ends.",
    "Unescaped": "Write two backslashes for one, or put the text in single quotes.",
    "Expected '=' after a key": "Write name = value.",
    "Expected newline or end of document": "Write one setting a line, and nothing after it.",
    "Expected ']": "Close the name of the table: [section.name].",
    "Unclosed array": "Close the list with ] and put a comma between its values.",
    "Unclosed inline table": "Close the table with } on the same line, with commas between its settings.",
    "Cannot declare": "The table stands twice: put its settings into one.",
    "Duplicate inline table key": "The name stands twice: keep one of both.",
    "Cannot overwrite": "The name stands twice: keep one of both.",
}
_ANY_MEND = "Correct it as maintenance.example.toml shows."


@dataclass(frozen=True, slots=True)
class FileFault:
    """What cannot be read, where it begins, and what to do; lines count from 1, 0 is the file as a whole.

    ``left_out`` are the first and last line of what was taken out so that the rest can be read.
    """

    line: int
    sentence: str
    mend: str
    left_out: tuple[int, int] = (0, 0)


@dataclass(frozen=True, slots=True)
class ReadableFile:
    """What of a file can be read, the faults of the rest, and its lines without these."""

    path: Path
    mapping: Mapping[str, Any]
    faults: tuple[FileFault, ...] = ()
    lines: tuple[str, ...] = ()

    def line_of(self, path: Sequence[str]) -> int | None:
        """Return the line where a setting stands, or else the table that it belongs to."""
        best: tuple[int, int | None] = 0, None
        for line, written in _statements(self.lines):
            common = _common(written, path)
            if common > best[0]:
                best = common, line
        return best[1]


def read_file(path: Path) -> ReadableFile:
    """Read what can be read; raises nothing for a file that is missing or broken."""
    try:
        data = path.read_bytes()
    except OSError as error:
        mend = "Create it (maintenance.example.toml shows how), or unset MAINTENANCE_CONFIG."
        return ReadableFile(path, {}, (FileFault(0, f"cannot be read: {error.strerror}", mend),))
    return readable(path, data)


def readable(path: Path, data: bytes) -> ReadableFile:
    """Read what can be read of the bytes of a file. Pure."""
    text = data.decode("utf-8-sig", "surrogateescape")
    lines = text.replace("\r\n", "\n").split("\n")
    faults: list[FileFault] = []
    for number, line in enumerate(lines, 1):
        if _UNDECODED.search(line):
            left_out = _take_out(lines, number, number)
            faults.append(
                FileFault(number, "is no UTF-8", "Save the file as UTF-8.", left_out),
            )
    while True:
        try:
            mapping = tomllib.loads("\n".join(lines))
        except ValueError as error:  # TOMLDecodeError, or a number of more digits than Python reads
            faults.append(_take_out_fault(lines, str(error)))
        else:
            faults.sort(key=lambda fault: fault.line)
            return ReadableFile(path, mapping, tuple(faults), tuple(lines))


# --- What cannot be read -------------------------------------------------------------------------


def _take_out_fault(lines: list[str], message: str) -> FileFault:
    """Empty the lines that a sentence of tomllib is about, so that the next fault can be found."""
    place = _PLACE.search(message)
    last = int(place["line"]) if place and place["line"] else len(lines)
    first = last
    # What is never closed is noticed further down: it begins where all above it can be read.
    while first > 1 and not _is_toml(lines[: first - 1]):
        first -= 1
    while _is_toml(lines[:first]):
        first += 1
    last = max(first, last) if place else first
    said = _PLACE.sub("", message)
    mend = next((mend for begin, mend in _MENDS.items() if said.startswith(begin)), _ANY_MEND)
    return FileFault(first, f"is no TOML: {said}", mend, _take_out(lines, first, last))


def _take_out(lines: list[str], first: int, last: int) -> tuple[int, int]:
    """Empty these lines, or the whole target that they belong to; return what was emptied.

    Half of a target would have faults of its own, such as an address that is missing.
    """
    begin = first
    while begin > 1 and _table(lines[begin - 1]) is None:
        begin -= 1
    table = _table(lines[begin - 1])
    if begin == first and table is not None:
        end = _last_line_of(lines, max(first, last), table)
    elif table is not None and len(table) > 1:
        first, end = begin, _last_line_of(lines, last, table)
    else:
        end = _end_of_statement(lines, first, last)
    lines[first - 1 : end] = [""] * (end - first + 1)
    return first, end


def _last_line_of(lines: Sequence[str], last: int, table: Sequence[str]) -> int:
    """Return the last line of a target: tables below it are parts of it where they begin with its name."""
    for number, line in enumerate(lines[last:], last + 1):
        next_table = _table(line)
        if next_table is not None and (len(table) < 2 or next_table[:2] != tuple(table[:2])):
            return number - 1
    return len(lines)


def _end_of_statement(lines: Sequence[str], first: int, last: int) -> int:
    """Return the last line of a setting: the rest of a list, table or text that it opens goes with it."""
    closing = _closing(lines[first - 1])
    if closing is None:
        return last
    for number, line in enumerate(lines[last:], last + 1):
        if _table(line) is not None:
            return number - 1
        if closing.match(line):
            return number
    return len(lines)


def _closing(line: str) -> re.Pattern[str] | None:
    """Return what the line looks like that ends a setting which goes on behind this one."""
    for quotes in ('"""', "'''"):
        if line.count(quotes) % 2:
            return re.compile(".*" + quotes)
    is_open = line.partition("#")[0].rstrip().endswith(("[", "{", ","))
    return re.compile(r"\s*[\]}]") if is_open else None


def _table(line: str) -> tuple[str, ...] | None:
    """Return the name of the table that a line begins, empty where it cannot be read; else ``None``."""
    if not line.lstrip().startswith("["):
        return None
    try:
        inner: Any = tomllib.loads(line)
    except ValueError:
        return ()
    name: list[str] = []
    while inner:
        if isinstance(inner, list):
            inner = inner[0]
        else:
            [(key, inner)] = inner.items()
            name.append(key)
    return tuple(name)


def _is_toml(lines: Sequence[str]) -> bool:
    try:
        tomllib.loads("\n".join(lines))
    except ValueError:
        return False
    return True


# --- Where a setting stands ----------------------------------------------------------------------


def _statements(lines: Sequence[str]) -> Iterator[tuple[int, tuple[str, ...]]]:
    """Yield the line and the path of each table and each setting, those inside of lists by their number."""
    table: tuple[str, ...] = ()
    of_this_name: Counter[tuple[str, ...]] = Counter()
    at = 0
    while at < len(lines):
        found = _table(lines[at])
        end = at + 1
        if found is not None:
            table = found
            if lines[at].lstrip().startswith("[["):
                table = (*found, str(of_this_name[found]))
                of_this_name[found] += 1
            yield at + 1, table
        else:
            while end < len(lines) and not _is_toml(lines[at:end]):
                end += 1
            for path in _paths(tomllib.loads("\n".join(lines[at:end]))):
                yield at + 1, (*table, *path)
        at = end


def _paths(value: Any) -> Iterator[tuple[str, ...]]:
    items = value.items() if isinstance(value, Mapping) else enumerate(value)
    for key, inner in items:
        yield (str(key),)
        if isinstance(inner, Mapping | list):
            yield from ((str(key), *path) for path in _paths(inner))


def _common(written: Sequence[str], wanted: Sequence[str]) -> int:
    """Return how many parts of a path lead to what is written; none where that is something else."""
    same = 0
    for one, other in zip(written, wanted, strict=False):
        if one != other:
            break
        same += 1
    return same
