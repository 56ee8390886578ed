"""Bloat of indexes without a model: bytes per row against those right after a rebuild.

GIN, GiST, SP-GiST, BRIN and hash indexes are as large as their build and their history made them.
The fewest bytes a row that were ever seen of a file are its baseline; a rebuilt index has a new file
(``relfilenode``). Baselines travel in the ``state`` of the report, by the index's oid.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

STATE_KEY = "bytes_per_row"


@dataclass(frozen=True, slots=True)
class Baseline:
    """``bytes_per_row`` of one index whose data lay in the file ``file_node``."""

    file_node: int
    bytes_per_row: float

    def to_state(self) -> dict[str, Any]:
        """Return plain JSON values."""
        return {"file_node": self.file_node, "bytes_per_row": round(self.bytes_per_row, 3)}


def known_baselines(state: Mapping[str, Any]) -> dict[int, Baseline]:
    """Return the baselines that an earlier report left, by oid."""
    return {
        int(oid): Baseline(int(kept["file_node"]), float(kept["bytes_per_row"]))
        for oid, kept in state.get(STATE_KEY, {}).items()
    }


def to_state(baselines: Mapping[int, Baseline]) -> dict[str, Any]:
    """Return what the next report is given; JSON has no numbers as keys."""
    return {STATE_KEY: {str(oid): kept.to_state() for oid, kept in baselines.items()}}


def next_baseline(
    known: Baseline | None, file_node: int, size_bytes: int, rows: float
) -> Baseline | None:
    """Return the baseline from now on: the known one, or today's size where that is better.

    ``None`` where an index without rows has never been seen with any.
    """
    same_file = known is not None and known.file_node == file_node
    if rows < 1:
        return known if same_file else None
    today = Baseline(file_node, size_bytes / rows)
    if known is None or not same_file or today.bytes_per_row < known.bytes_per_row:
        return today
    return known


def fresh_bytes(baseline: Baseline, size_bytes: int, rows: float) -> int:
    """Return what ``rows`` take at the baseline's density, at most ``size_bytes``."""
    return min(size_bytes, round(baseline.bytes_per_row * rows))
