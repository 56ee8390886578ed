"""Values in the environment that are no text: yes or no, and whole numbers. An empty one is as if it were not there."""

import os
from collections.abc import Mapping

from maintenance.core.errors import ConfigurationError

_YES = frozenset({"1", "true", "yes", "on"})
_NO = frozenset({"", "0", "false", "no", "off"})


def is_on(name: str, environment: Mapping[str, str] = os.environ) -> bool:
    """Say whether a variable switches something on, in any case of letters; it is off where there is none.

    Raises ``ConfigurationError`` for any other word: guessed, it could leave a connection without TLS.
    """
    word = environment.get(name, "").strip().lower()
    if word not in _YES | _NO:
        raise ConfigurationError(
            f"{name} is {word!r}, which is neither yes nor no. Write 1 (or true, yes, on) to switch it on,"
            f" 0 (or false, no, off) to leave it off, or unset {name}."
        )
    return word in _YES


def whole_number(name: str, default: int, environment: Mapping[str, str] = os.environ) -> int:
    """Return the number that a variable has, 0 or above, or the default where there is none.

    Raises ``ConfigurationError`` for what is no such number.
    """
    text = environment.get(name, "").strip()
    if not text:
        return default
    if not (text.isascii() and text.isdecimal()):
        raise ConfigurationError(
            f"{name} is {text!r}, which is no whole number. Write digits alone, such as {default},"
            f" or unset {name}."
        )
    return int(text)
