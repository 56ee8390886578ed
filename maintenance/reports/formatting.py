"""Values in words: how a number is written follows from the ending of its name.

===================  ========================  =============================================
ending               meaning                   written as
===================  ========================  =============================================
``_bytes``           bytes                     ``112 MB``, exactly as ``pg_size_pretty`` would
``_ratio``           0 to 1                    ``31.4 %``
``_seconds``         seconds                   ``2 min 3 s``
``_ms``              milliseconds              ``12.3 ms``
``_per_second``      rate of what stands ahead ``112 MB/s``, ``1 200/s``
``_at``              ISO 8601 time             ``2026-11-23 14:05 UTC``
``_id`` and others   an identifier             as it is, never grouped
anything else        a count or plain text     ``1 234 567`` with narrow spaces
===================  ========================  =============================================
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

#: Stands where there is no value; never a zero.
NO_VALUE = "–"  # noqa: RUF001 - an en dash is meant

_QUANTITIES = {
    "_per_second": "rate",
    "_bytes": "size",
    "_ratio": "share",
    "_seconds": "time",
    "_ms": "time",
}
_UNIT_ENDINGS = tuple(_QUANTITIES)
_IDENTIFIERS = frozenset({"id", "oid", "pid", "port", "queryid", "query_id", "version", "year"})
_IDENTIFIER_ENDINGS = ("_id", "_oid", "_pid", "_port", "_version")

_SIZE_UNITS = ("bytes", "kB", "MB", "GB", "TB", "PB")


def format_value(name: str, value: Any) -> str:  # noqa: PLR0911 - one line a type reads best
    """Write ``value`` for a person, in the unit that ``name`` ends in. Never raises."""
    if value is None:
        return NO_VALUE
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return format_time(value)
    if isinstance(value, int | float):
        return _format_number(name, value)
    if isinstance(value, str):
        return _format_text(name, value)
    if isinstance(value, Mapping):
        return "; ".join(f"{heading(str(k))}: {format_value(str(k), v)}" for k, v in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(format_value(name, item) for item in value)
    return json.dumps(value, default=str, ensure_ascii=False)


def is_identifier(name: str) -> bool:
    """Tell whether a number of this name says which one, not how many."""
    return name in _IDENTIFIERS or name.endswith(_IDENTIFIER_ENDINGS)


def has_unit(name: str) -> bool:
    """Tell whether a value of this name is a quantity: its name ends in a unit."""
    return name.endswith(_UNIT_ENDINGS)


def _format_number(name: str, value: float) -> str:
    if value != value or value in {float("inf"), float("-inf")}:  # noqa: PLR0124 - NaN is not equal to itself
        return NO_VALUE
    if is_identifier(name):
        return str(value)
    if name.endswith("_per_second"):
        return _format_number(name.removesuffix("_per_second"), value) + "/s"
    ending = name.rsplit("_", 1)[-1]
    writers = {
        "bytes": format_bytes,
        "ratio": format_ratio,
        "seconds": format_seconds,
        "ms": format_milliseconds,
    }
    return writers.get(ending, format_count)(value)


def _format_text(name: str, value: str) -> str:
    if name.endswith("_at"):
        try:
            return format_time(datetime.fromisoformat(value))
        except ValueError:
            return value
    return value


def format_bytes(size_bytes: float) -> str:
    """Write a size exactly as PostgreSQL's ``pg_size_pretty(bigint)`` does.

    Units are powers of 1024; a unit is used up to 10 times its successor (``10239 kB``, then
    ``10 MB``), halves are rounded up. A size read here is the size that ``psql`` shows.
    Source: PostgreSQL documentation, 9.28.7 Database Object Management Functions.
    """
    size = abs(round(size_bytes))
    if size < 10 * 1024:
        text = f"{size} bytes"
    else:
        # Halves of a unit are kept until the end, because the server rounds only once.
        halves, position = size >> 9, 1
        while halves >= 20 * 1024 - 1 and position < len(_SIZE_UNITS) - 1:
            halves, position = halves >> 10, position + 1
        text = f"{(halves + 1) // 2} {_SIZE_UNITS[position]}"
    return f"-{text}" if size_bytes < 0 and size else text


def format_ratio(ratio: float) -> str:
    """Write a ratio (1 is all) as per cent with one decimal.

    What is neither nothing nor all is not rounded to it: ``<0.1 %``, ``>99.9 %``.
    """
    if 0 < ratio < 0.0005:
        return "<0.1 %"
    if 0.9995 <= ratio < 1:
        return ">99.9 %"
    return f"{_grouped(ratio * 100, 1)} %"


def format_seconds(seconds: float) -> str:
    """Write a duration in its two largest units: ``340 ms``, ``12.3 s``, ``2 min 3 s``, ``3 d 4 h``."""
    if seconds < 0:
        return f"-{format_seconds(-seconds)}"
    if seconds == 0:
        return "0 s"
    if seconds < 0.9995:
        return format_milliseconds(seconds * 1000)
    if seconds < 59.95:
        return f"{_trimmed(seconds, 1)} s"
    whole = round(seconds)
    days, rest = divmod(whole, 86_400)
    hours, rest = divmod(rest, 3600)
    minutes, rest = divmod(rest, 60)
    parts = [(days, "d"), (hours, "h"), (minutes, "min"), (rest, "s")]
    first = next(index for index, (count, _) in enumerate(parts) if count)
    return " ".join(f"{_grouped(n, 0)} {unit}" for n, unit in parts[first : first + 2] if n)


def format_milliseconds(milliseconds: float) -> str:
    """Write milliseconds with about three digits; from a second on, as a duration."""
    if milliseconds < 0:
        return f"-{format_milliseconds(-milliseconds)}"
    if milliseconds >= 999.5:
        return format_seconds(milliseconds / 1000)
    if 0 < milliseconds < 0.005:
        return "<0.01 ms"
    return f"{_trimmed(milliseconds, 2 if milliseconds < 1 else 1 if milliseconds < 100 else 0)} ms"


def format_count(count: float) -> str:
    """Write a number with its digits in groups of three; fractions keep about three digits."""
    if isinstance(count, int):
        return f"{count:,}"  # to the last digit, which a float of that size has lost
    if count.is_integer():
        return _grouped(count, 0)
    size = abs(count)
    if size >= 100:
        return _grouped(count, 0)
    if size >= 0.01:
        return _trimmed(count, 1 if size >= 10 else 2 if size >= 1 else 3)
    return f"{count:.2g}"


def format_time(moment: datetime) -> str:
    """Write a time to the minute with its offset from UTC: ``2026-11-23 14:05 UTC``."""
    text = moment.strftime("%Y-%m-%d %H:%M")
    offset = moment.utcoffset()
    if offset is None:
        return text
    return f"{text} UTC" if not offset else f"{text} {moment:%z}"


def _grouped(number: float, decimals: int) -> str:
    return f"{number:,.{decimals}f}"


def _trimmed(number: float, decimals: int) -> str:
    text = _grouped(number, decimals)
    return text.rstrip("0").rstrip(".") if "." in text else text


def heading(name: str) -> str:
    """Return a column's or fact's name in words, without its unit: ``size_bytes`` -> ``size``."""
    return _without_unit(name).replace("_", " ").strip() or name


def headings(names: Sequence[str]) -> tuple[str, ...]:
    """Return headings for columns that stand side by side.

    Where two would read the same (``free_bytes``, ``free_ratio``), the unit is said in a word:
    ``free size``, ``free share``.
    """
    seen = Counter(heading(name) for name in names)
    return tuple(
        _with_quantity(name) if seen[heading(name)] > 1 else heading(name) for name in names
    )


def _with_quantity(name: str) -> str:
    words = heading(name)
    ending = next((e for e in _UNIT_ENDINGS if name.endswith(e)), "")
    quantity = _QUANTITIES.get(ending, "")
    return words if words.endswith(quantity) else f"{words} {quantity}"


def _without_unit(name: str) -> str:
    shorter = name
    for ending in _UNIT_ENDINGS:  # a rate of bytes loses both
        shorter = shorter.removesuffix(ending)
    return shorter or name


def counted(count: int, singular: str, plural: str = "") -> str:
    """Return a count with its noun: ``1 warning``, ``2 warnings``, ``0 queries``."""
    noun = singular if count == 1 else plural or f"{singular}s"
    return f"{_grouped(count, 0)} {noun}"
