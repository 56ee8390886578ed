"""The same faults against django-celery-beat alone: plain tasks, sent by its own scheduler."""

from collections.abc import Iterator
from datetime import UTC, datetime

from faults import invariants, site_rows
from faults.fire import Fire
from faults.invariants import Violation
from faults.stack import Stack

#: Long enough for everything that still comes: its tasks take a fifth of a second.
PATIENCE_SECONDS = 8.0


class StockFire(Fire):
    """Counts dispatches of stock beat without an effect, and those with more than one."""

    give_up_seconds = PATIENCE_SECONDS

    def __init__(self, stack: Stack, seed: int) -> None:
        super().__init__(stack, seed)
        self._counted = 0
        self._lost: set[str] = set()

    def _unsettled(self, due_by: datetime) -> str | None:
        found = self._slots_until(due_by)
        lost = [slot for slot, (_at, effects) in found.items() if not effects]
        new = [slot for slot in lost if slot not in self._lost]
        return f"{new[0]} is not done" if new else None

    def _slots_until(self, due_by: datetime) -> dict[str, tuple[datetime, int]]:
        rows = self.stack.ask(
            "target",
            "SELECT slot, at, (SELECT count(*) FROM marks WHERE run = slot AND kind = 'effect')"
            " FROM (SELECT slot, min(at) AS at FROM intents WHERE at <= %s GROUP BY slot) AS sent",
            due_by,
        )
        return {str(slot): (at, int(effects)) for slot, at, effects in rows}

    def _all_violations(self) -> Iterator[Violation]:
        found = self._slots_until(datetime.fromtimestamp(self.fault_at, UTC))
        self._slots = len(found) - self._counted
        self._counted = len(found)
        for slot, (at, effects) in found.items():
            if not effects:
                self._lost.add(slot)
                yield Violation("I1", f"{slot} was sent, and never done", at)
            if effects > 1:
                yield Violation("I2", f"{slot} was done more than once", at)
        yield from invariants.overlaps(
            invariants.executions(site_rows.marks_since(self.stack, site_rows.BEGINNING))
        )
