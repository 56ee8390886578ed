"""The last runs of a schedule as a row of marks: how bad a run was is its height. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import groupby

#: The drawing's own units. A mark is four wide, with a gap of two.
MARK_WIDTH, STEP, HEIGHT = 4, 6, 20
#: Runs that a row of marks shows.
MOST_MARKS = 20

#: The higher the worse; what did no work, or has not done it yet, is a stroke on the ground.
_HEIGHTS = {"critical": 20, "failed": 20, "warning": 13, "info": 8, "ok": 6, "succeeded": 6}
_STROKE = 2


@dataclass(frozen=True, slots=True)
class Marks:
    """``paths`` are the shapes of each kind of outcome; ``words`` say the same, the newest first."""

    paths: Sequence[tuple[str, str]]
    words: str
    width: int
    height: int = HEIGHT


def marks(kinds: Sequence[str], word_of: Callable[[str], str]) -> Marks:
    """Draw outcomes, given as kinds of badges from the newest to the oldest.

    The newest stands at the right.
    """
    shown = kinds[:MOST_MARKS]
    shapes: dict[str, list[str]] = {}
    for place, kind in enumerate(reversed(shown)):
        height = _HEIGHTS.get(kind, _STROKE)
        shapes.setdefault(kind, []).append(
            f"M{place * STEP} {HEIGHT - height}h{MARK_WIDTH}v{height}h-{MARK_WIDTH}z"
        )
    said = [(word_of(kind), len(list(same))) for kind, same in groupby(shown)]
    return Marks(
        paths=[(kind, "".join(drawn)) for kind, drawn in shapes.items()],
        words=", ".join(f"{times} × {word}" if times > 1 else word for word, times in said),  # noqa: RUF001
        width=max(len(shown) * STEP - (STEP - MARK_WIDTH), MARK_WIDTH),
    )
