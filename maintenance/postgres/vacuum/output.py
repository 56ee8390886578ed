"""What VACUUM (VERBOSE) says about its own work, read from its messages.

"Succeeded" means little: with an old transaction open, VACUUM succeeds, counts itself and removes
nothing. Only its messages tell rows that were removed from rows that must stay.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass

# PostgreSQL 15 and later.
_TUPLES = re.compile(
    r"tuples: (?P<removed>\d+) removed, \d+ remain, (?P<kept>\d+) are dead but not yet removable"
)
# What a row leaves behind when a reader has pruned its page already: 15 and later, and 14.
_IDENTIFIERS = re.compile(r"had (?P<removed>\d+) dead item identifiers removed")
_IDENTIFIERS_14 = re.compile(r"removed (?P<removed>\d+) dead item identifiers in ")
# PostgreSQL 14.
_FOUND = re.compile(r"found (?P<removed>\d+) removable, \d+ nonremovable row versions in ")
_KEPT = re.compile(r"(?P<kept>\d+) dead row versions cannot be removed yet")
# An index scan that was not worth its while leaves them to a later VACUUM: 14 and later.
_BYPASSED = re.compile(
    r"index scan bypassed: \d+ pages from table \([^)]*\) have (?P<left>\d+) dead item identifiers"
)
_WARNING = re.compile(r"^WARNING:\s+(?P<text>.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class VacuumOutput:
    """Rows of the table and its TOAST table together; ``None`` where VACUUM did not say.

    A row that a reader's pruning has emptied before is counted by its line pointer, which only
    VACUUM takes away; so ``removed_rows`` is the larger of the two counts. ``bypassed_identifiers``
    are dead line pointers that it left, because fewer than 2 % of the pages have some.
    A server whose messages are translated says it in words that are not understood here.
    """

    removed_rows: int | None
    unremovable_rows: int | None
    warnings: tuple[str, ...] = ()
    bypassed_identifiers: int = 0


def parse_vacuum_output(messages: Iterable[str]) -> VacuumOutput:
    """Read the messages that one VACUUM sent to its client."""
    removed: list[int] = []
    kept: list[int] = []
    identifiers = bypassed = 0
    warnings: list[str] = []
    for message in messages:
        warning = _WARNING.match(message)
        if warning:
            warnings.append(" ".join(warning["text"].split()))
        for match in _TUPLES.finditer(message):
            removed.append(int(match["removed"]))
            kept.append(int(match["kept"]))
        removed += [int(match["removed"]) for match in _FOUND.finditer(message)]
        for pattern in (_IDENTIFIERS, _IDENTIFIERS_14):
            identifiers += sum(int(match["removed"]) for match in pattern.finditer(message))
        bypassed += sum(int(match["left"]) for match in _BYPASSED.finditer(message))
        kept += [int(match["kept"]) for match in _KEPT.finditer(message)]
    return VacuumOutput(
        removed_rows=max(sum(removed), identifiers) if removed else None,
        unremovable_rows=sum(kept) if kept else None,
        warnings=tuple(warnings),
        bypassed_identifiers=bypassed,
    )
