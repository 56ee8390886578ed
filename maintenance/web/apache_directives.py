"""Apache's ``LogFormat`` (Apache documentation, mod_log_config, "Custom Log Formats")."""

import re

from maintenance.core.errors import ConfigurationError
from maintenance.web.format_parts import Part

# %>s, %!200,304{Referer}i, %{ms}T, %{c}a, %^FB, %%
_DIRECTIVE = re.compile(
    r"%(?:%|[<>!\d,]*(?:\{(?P<argument>[^}]*)\})?[<>]?(?P<letter>\^F[BU]|\^t[io]|[A-Za-z]))"
)

#: What nginx calls the same. All others are read over.
_NAMES = {
    "r": "request",
    "s": "status",
    "b": "body_bytes_sent",
    "B": "body_bytes_sent",
    "O": "bytes_sent",
    "U": "uri",
    "D": "request_usec",
}
_TIME_TAKEN = {"us": "request_usec", "ms": "request_msec"}
_EPOCHS = {"sec": "msec", "msec": "epoch_msec", "usec": "usec"}

#: The conversions of strftime(3) that logs use, as patterns of what they write.
_STRFTIME = {
    "Y": r"\d{4}", "m": r"\d\d", "d": r"\d\d", "H": r"\d\d", "M": r"\d\d", "S": r"\d\d",
    "z": r"[+-]\d{4}", "b": r"[A-Z][a-z]{2}", "y": r"\d\d", "f": r"\d{1,6}", "j": r"\d{3}",
    "e": r"[ \d]\d", "%": "%",
}  # fmt: skip
_SHORTHANDS = {"%T": "%H:%M:%S", "%F": "%Y-%m-%d", "%R": "%H:%M", "%D": "%m/%d/%y"}


def apache_parts(text: str) -> tuple[Part, ...]:
    """Split a format into its parts. Raises ``ConfigurationError`` for a time it cannot read."""
    parts: list[Part] = []
    literal = ""
    end = 0
    for match in _DIRECTIVE.finditer(text):
        literal += text[end : match.start()]
        end = match.end()
        letter, argument = match["letter"], match["argument"] or ""
        if letter is None:
            literal += "%"
            continue
        before, variable, after = _variable(letter, argument, match[0])
        if literal + before:
            parts.append(Part(literal=(literal + before).encode()))
        parts.append(variable)
        literal = after
    literal += text[end:]
    if literal:
        parts.append(Part(literal=literal.encode()))
    return tuple(parts)


def _variable(letter: str, argument: str, written: str) -> tuple[str, Part, str]:
    """Return a variable and the literal text around it."""
    if letter == "t" and not argument:
        return "[", Part(name="time_local", written=written), "]"
    if letter == "t":
        return "", _time(argument.removeprefix("begin:").removeprefix("end:"), written), ""
    if letter == "T":
        # Whole seconds say nothing of targets below one.
        return "", Part(name=_TIME_TAKEN.get(argument, "whole_seconds"), written=written), ""
    name = "" if argument and letter not in "sr" else _NAMES.get(letter, "")
    return "", Part(name=name or f"apache_{letter}_{argument}", written=written), ""


def _time(argument: str, written: str) -> Part:
    if argument in _EPOCHS:
        return Part(name=_EPOCHS[argument], written=written)
    for shorthand, long in _SHORTHANDS.items():
        argument = argument.replace(shorthand, long)
    pattern = ""
    for conversion in re.findall(r"%.|[^%]", argument):
        if conversion[0] != "%":
            pattern += re.escape(conversion)
        elif conversion[1] in _STRFTIME:
            pattern += _STRFTIME[conversion[1]]
        else:
            raise ConfigurationError(
                f"The time {written} cannot be read: {conversion} is not known here. Known:"
                f" {', '.join('%' + letter for letter in _STRFTIME)}."
            )
    return Part(
        name="time_text",
        written=written,
        shape=pattern.encode(),
        time_format=argument.replace("%e", "%d"),
    )
