"""Lines of a written configuration file that nothing explains."""

from itertools import pairwise


def unexplained(text: str) -> list[str]:
    """Return each line of a file that has no comment right above it."""
    return [
        line
        for above, line in pairwise(["", *text.split("\n")])
        if line and not line.startswith("#") and not above.startswith("#")
    ]
