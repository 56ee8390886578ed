"""Keys in words: shortened where they are long, and grouped by what they have in common.

A key's shape is the key with everything that differs from user to user, or from value to value,
replaced by ``*``: ``17-home`` and ``42-home`` are both ``*-home``.
"""

import re
from collections import Counter
from collections.abc import Iterable, Mapping

from maintenance.redis_client.connection import describe_key

#: Longer keys are cut: a shape and a line of a report need no more, and a key may have a megabyte.
LONGEST_SHOWN = 120

#: A shape with fewer keys of a sample is named by its first word, and then as one of the others.
RARE_RATIO = 0.005

OTHERS = "(other keys)"

_UUID = r"[0-9a-fA-F]{8}-(?:[0-9a-fA-F]{4}-){3}[0-9a-fA-F]{12}"
# A long run of letters and digits with a digit in it: a hash, a session, a token.
_LONG_WORD = r"(?=[A-Za-z]*[0-9])[A-Za-z0-9]{16,}"
_VARYING = re.compile(rf"{_UUID}|{_LONG_WORD}|[0-9]+")
# ":1:" is what Django writes before every key without a prefix: its version, which says something.
_DJANGO_VERSION = re.compile(r":[0-9]{1,2}:")
_FIRST_WORD = re.compile(r".[^:./_-]*[:./_-]")


def shortened(key: bytes) -> str:
    """Return a key as text of at most :data:`LONGEST_SHOWN` characters, with its size if cut."""
    text = describe_key(key[: LONGEST_SHOWN + 1])
    if len(key) <= LONGEST_SHOWN and len(text) <= LONGEST_SHOWN:
        return text
    return f"{text[:LONGEST_SHOWN]}... ({len(key):,} bytes)"


def shape_of(key: bytes) -> str:
    """Return the shape of a key."""
    text = describe_key(key[:LONGEST_SHOWN])
    version = _DJANGO_VERSION.match(text)
    head = version.group() if version else ""
    tail = "*" if len(key) > LONGEST_SHOWN else ""
    return head + _VARYING.sub("*", text[len(head) :]) + tail


def common_shapes(shapes: Iterable[str]) -> Mapping[str, str]:
    """Map each shape to the one that it is counted under: rare ones are taken together."""
    counts = Counter(shapes)
    enough = max(2.0, RARE_RATIO * counts.total())
    folded = {shape: shape if n >= enough else _family(shape) for shape, n in counts.items()}
    totals: Counter[str] = Counter()
    for shape, family in folded.items():
        totals[family] += counts[shape]
    return {
        shape: family if totals[family] >= enough else OTHERS for shape, family in folded.items()
    }


def _family(shape: str) -> str:
    word = _FIRST_WORD.match(shape)
    return f"{word.group()}*" if word else OTHERS
