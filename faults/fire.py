"""One stack under fire: its schedules, what it has done so far, and one fault after another."""

import random
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connections

from faults import invariants
from faults.invariants import LedgerRow, Violation
from faults.stack import Node, Stack, is_alive

#: Nothing takes longer to recover; what does is counted as a violation, and the stack is given up.
GIVE_UP_SECONDS = 60.0
#: How often the ledger is asked whether everything has ended.
LOOK_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of fault: ``row`` is its line of the matrix, ``hurt`` does it and returns when it is over.

    ``needs`` names the schedules that must run. ``alarm`` returns whether somebody was told; ``None``
    where nobody need be. ``times`` is how often it comes in a thousand.
    """

    name: str
    row: str
    hurt: "Callable[[Fire], None]"
    holds: tuple[str, ...] = ("I1", "I2", "I3", "I4", "I5")
    alarm: "Callable[[Fire], bool] | None" = None
    needs: tuple[str, ...] = ()
    times: int = 10
    #: Fields of :class:`~faults.stack.Variant`, where it needs a stack of its own.
    variant: dict[str, Any] = field(default_factory=dict)


@dataclass(slots=True)
class Episode:
    """One fault, and what it broke. ``point`` is where it came; times in seconds."""

    seed: int
    kind: str
    row: str
    point: str = ""
    recovery_seconds: float | None = None
    took_seconds: float = 0.0
    slots: int = 0
    violations: list[dict[str, Any]] = field(default_factory=list)
    error: str = ""


class Fire:
    """The driver of one stack."""

    give_up_seconds = GIVE_UP_SECONDS

    def __init__(self, stack: Stack, seed: int) -> None:
        self.stack = stack
        self.seed = seed
        self.random = random.Random(seed)
        self.fault_at = time.time()
        self.point = ""
        self.disturbed: set[int] = set()
        self.log_offsets: dict[str, int] = {}
        self.notes: dict[str, Any] = {}
        self._checked_until = datetime.now(UTC)
        self._known: set[Violation] = set()
        self._slots = 0

    def now(self) -> datetime:
        """Return the time now."""
        return datetime.now(UTC)

    def run(self, kind: Kind) -> Episode:
        """Do one fault, wait until it is overcome, and count what it broke."""
        episode = Episode(self.seed, kind.name, kind.row)
        began = time.monotonic()
        self.point = ""
        self.notes = {}
        self.log_offsets = {name: self._log_size(name) for name in self.stack.nodes}
        try:
            kind.hurt(self)
            self.stack.heal()
            connections.close_all()  # the driver's own session may have been a victim
            episode.recovery_seconds = round(self._recovered(), 1)
        except TimeoutError as error:
            episode.error = str(error)
            self.stack.heal()
        episode.point = self.point
        found = list(self._violations())
        episode.slots = self._slots
        limit = self.stack.variant.recovery_limit_seconds
        if episode.recovery_seconds is None or episode.recovery_seconds > limit:
            what = episode.error or f"recovered after {episode.recovery_seconds:.1f} s"
            found.append(Violation("I5", what, self.now()))
        if kind.alarm is not None and not kind.alarm(self):
            found.append(Violation("I6", "nobody was told", self.now()))
        episode.violations = [
            {**asdict(one), "at": one.at.isoformat()}
            for one in found
            if one.invariant in (*kind.holds, "I6") or episode.error
        ]
        episode.took_seconds = time.monotonic() - began
        return episode

    # --- doing harm ---------------------------------------------------------------------------

    def at(self, point: str, seconds: float = 60.0) -> tuple[Node, dict[str, Any]]:
        """Wait until a process stands at ``point``; return its node and who it is.

        A node that ends meanwhile is started again, as whatever supervises it would.
        """
        self.point = point
        self.stack.arm(point)
        hit = self.stack.hit(point, seconds, meanwhile=self._start_dead_nodes)
        self.fault_at = time.time()
        return self.stack.node_of(hit["group"]), hit

    def kill(self, node: Node) -> None:
        """Kill -9 a node, whole."""
        self.disturbed.add(node.pid)
        self.stack.kill(node)

    def disturb(self, node: Node) -> None:
        """Note that a node is cut off or stopped: what it did last may be done again."""
        self.disturbed.add(node.pid)

    def log_since(self, role: str = "") -> str:
        """Return what the nodes of a role have logged in this episode."""
        texts = []
        for name, offset in self.log_offsets.items():
            path = self.stack.logs / f"{name}.log"
            if name.startswith(role) and path.exists():
                texts.append(path.read_bytes()[offset:].decode(errors="replace"))
        return "\n".join(texts)

    def _log_size(self, name: str) -> int:
        path = self.stack.logs / f"{name}.log"
        return path.stat().st_size if path.exists() else 0

    # --- counting -----------------------------------------------------------------------------

    def _recovered(self) -> float:
        """Wait until everything that was due by the fault has ended; return after how many seconds."""
        healed_at = time.time()
        due_by = datetime.fromtimestamp(max(self.fault_at, healed_at), UTC)
        give_up_at = time.monotonic() + self.give_up_seconds
        while (waits_for := self._unsettled(due_by)) is not None:
            if time.monotonic() > give_up_at:
                raise TimeoutError(f"not settled after {self.give_up_seconds:g} s: {waits_for}")
            self._start_dead_nodes()
            time.sleep(LOOK_SECONDS)
        return time.time() - healed_at

    def _start_dead_nodes(self) -> None:
        for node in self.stack.dead_nodes():
            self.stack.start(node.name)

    def _unsettled(self, due_by: datetime) -> str | None:
        """Return what has not ended of what was due by then; ``None`` where everything has."""
        from faults.site_rows import open_runs, passed_until

        passed = passed_until()
        if passed <= due_by:
            return f"slots are settled up to {passed:%H:%M:%S} only"
        return next((f"run {run.id} is {run.state}" for run in open_runs(due_by)), None)

    def _violations(self) -> Iterator[Violation]:
        """Yield what has come to light since the last time."""
        for violation in self._all_violations():
            if violation not in self._known:
                self._known.add(violation)
                yield violation

    def _all_violations(self) -> Iterator[Violation]:
        from faults import site_rows

        since = self._checked_until - timedelta(seconds=GIVE_UP_SECONDS)
        settled = datetime.fromtimestamp(self.fault_at, UTC)
        rows = site_rows.ledger_rows(since)
        done = invariants.executions(site_rows.marks_since(self.stack, since))
        due = list(site_rows.due_slots(since, settled))
        self._slots = len([slot for slot in due if slot[2] > self._checked_until])
        self._checked_until = settled
        by_then = [row for row in rows if row.slot[2] <= settled]
        yield from invariants.rows_of_slots(due, by_then)
        yield from invariants.ahead_of_time(rows, self.now() + timedelta(seconds=1))
        yield from invariants.effective_runs(rows, done, self.disturbed)
        yield from invariants.overlaps(done)
        yield from invariants.whole_reports(by_then, self._phantoms(by_then))

    def _phantoms(self, rows: list[LedgerRow]) -> set[str]:
        """Return runs that are held "running" although no process of the stack works on them."""
        if any(is_alive(node.pid) for node in self.stack.nodes.values() if node.role == "worker"):
            return {row.run for row in rows if row.state == "running"}
        return set()
