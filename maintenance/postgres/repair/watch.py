"""The watch beside a repair: what others feel, how busy the server is, how far we are.

One session of its own, which writes nothing that stays. A look costs a few short statements; the
latency is felt each time, the load and the progress are read once a second. Who waits for a lock
of ours is seen by the lookout, which waits for nobody.
"""

import time
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import DatabaseTarget
from maintenance.postgres.repair.harm import Harm
from maintenance.postgres.repair.load import Load, LoadMeter
from maintenance.postgres.repair.lookout import Lookout
from maintenance.postgres.repair.pacing import Pace, pace_of
from maintenance.postgres.repair.probe import Probe
from maintenance.postgres.sql_files import query

#: What a small transaction takes is felt this often.
LOOK_SECONDS = 0.25
#: The load changes within seconds, and reading it costs a look at every session.
LOAD_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Progress:
    """How far one statement of ours is, as the server's progress views say."""

    phase: str
    done: int
    total: int
    unit: str

    @property
    def in_words(self) -> str:
        """The phase, with the share that is done where the server knows it."""
        if not self.total:
            return self.phase
        return f"{self.phase}, {min(1.0, self.done / self.total):.0%} of {self.total:,} {self.unit}"


class Watch:
    """Looks after the sessions of one repair. Made before the work begins, when all is as usual."""

    def __init__(
        self, conn: Connection, lookout: Lookout, target: DatabaseTarget, jobs: int
    ) -> None:
        #: For whoever verifies in the calling thread.
        self.conn = conn
        self.lookout = lookout
        self._target = target
        self._jobs = jobs
        self._probe = Probe(conn)
        self._meter = LoadMeter(conn)
        self._looked_at = 0.0
        self._load_at = 0.0
        self._progress: dict[int, Progress] = {}
        self.pace = self._pace(self._meter.read((), None))

    def _pace(self, load: Load) -> Pace:
        return pace_of(
            load,
            self._target.pacing,
            jobs=self._jobs,
            processors=self._target.server.cpu_count,
        )

    @property
    def seconds_to_next_look(self) -> float:
        """How long until the next look is due; 0 or less where it is."""
        return self._looked_at + LOOK_SECONDS - time.monotonic()

    def enter_into(self, harm: Harm) -> None:
        """Enter what others have felt so far."""
        harm.latency = self._probe.change
        longest = self.lookout.longest
        if longest is not None:
            harm.longest_wait_seconds = longest.waited_seconds
            harm.longest_waiter = longest.in_words

    def look(self, our_pids: Collection[int]) -> None:
        """Bring latency, pace and the progress of these sessions up to date."""
        self._looked_at = time.monotonic()
        # Also while the run stands still: nothing else would tell that the site is quick again.
        self._probe.send(beside_work=bool(our_pids))
        if self._looked_at - self._load_at >= LOAD_SECONDS:
            self._load_at = self._looked_at
            self.pace = self._pace(self._meter.read(our_pids, self._probe.added_ms))
            rows = query(self.conn, "repair_progress", {"ours": list(our_pids)})
            self._progress = {row["pid"]: _progress(row) for row in rows}

    def progress_of(self, pid: int) -> Progress | None:
        """Return how far a session was at the last look; ``None`` where it had nothing to show."""
        return self._progress.get(pid)


def _progress(row: dict[str, Any]) -> Progress:
    return Progress(row["phase"], row["done"] or 0, row["total"] or 0, row["unit"])
