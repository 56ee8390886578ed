"""Which tables VACUUM FULL is worth on, for how long it would lock each, and what it needs. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from maintenance.core.plans import Action
from maintenance.core.wording import bytes_in_words, percent, seconds_in_words
from maintenance.postgres.activity.sessions import XminHolder
from maintenance.postgres.bloat.index_report import IndexBloat
from maintenance.postgres.bloat.table_report import TableBloat
from maintenance.postgres.repair.crew import Step
from maintenance.postgres.repair.disk import Disk, refusal_for_disk

#: Of a server that was never seen rewriting a table: what a slow disk reads or writes in a second.
ASSUMED_BYTES_PER_SECOND = 20e6
#: Rows that died after an older transaction began are copied, not removed.
OLD_TRANSACTION_SECONDS = 60.0
#: The same of a standby and its slot, which have no transaction here: with hot_standby_feedback there
#: always is one, a few transactions old. Begun within a minute at 160 a second.
OLD_TRANSACTIONS = 10_000

KIND = "vacuum full"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One table with its sizes on disk, and how much of its heap is bloat.

    ``statement`` is the VACUUM FULL of this table, its name quoted; ``indexes`` are those whose bloat
    was measured.
    """

    oid: int
    schema: str
    name: str
    qualified_name: str
    statement: str
    heap_bytes: int
    toast_bytes: int
    index_bytes: int
    is_catalog: bool
    may_maintain: bool
    bloat: TableBloat | None = None
    disk: Disk | None = None
    indexes: tuple[IndexBloat, ...] = ()

    @property
    def total_bytes(self) -> int:
        """The table with all that belongs to it."""
        return self.heap_bytes + self.toast_bytes + self.index_bytes

    @property
    def gain_bytes(self) -> int | None:
        """What comes back of the heap; ``None`` where it could not be measured."""
        estimate = self.bloat.estimate if self.bloat else None
        return None if estimate is None else estimate.bloat_bytes

    @property
    def index_gain_bytes(self) -> int:
        """What comes back of its indexes, as far as it was measured."""
        return sum(index.bloat_bytes for index in self.indexes)

    @property
    def written_bytes(self) -> int:
        """What is written anew, at most: the packed heap by the interval's end, TOAST and indexes."""
        estimate = self.bloat.estimate if self.bloat else None
        kept_ratio = 1.0 if estimate is None else 1.0 - max(0.0, estimate.low_ratio)
        return int(self.heap_bytes * kept_ratio) + self.toast_bytes + self.index_bytes

    @property
    def disk_bytes(self) -> int:
        """What is needed while it is at work: the copy, and its WAL."""
        return 2 * self.written_bytes

    def lock_seconds(self, bytes_per_second: float) -> float:
        """How long nobody can read or write the table: while it is read and written anew."""
        return (self.total_bytes + self.written_bytes) / bytes_per_second


@dataclass(frozen=True, slots=True)
class Refusal:
    """A table that is not rewritten, and why not."""

    action: Action
    reason: str


@dataclass(frozen=True, slots=True)
class Conditions:
    """What a rewrite has to keep to.

    ``lock_limit_seconds`` is how long a person has agreed that a table may be locked, 0 where
    nobody has. ``bytes_per_second`` was learned from earlier runs, ``None`` without any.
    ``size_limit_bytes`` is the most that the database may have, ``None`` where no limit is known.
    """

    lock_limit_seconds: float
    minimum_gain_ratio: float
    bytes_per_second: float | None = None
    size_limit_bytes: int | None = None
    holders: tuple[XminHolder, ...] = ()


def plan_rewrite(
    candidates: Sequence[Candidate], conditions: Conditions
) -> tuple[list[Step], list[Refusal]]:
    """Return the steps, most gained first, and the tables that are refused."""
    rate = conditions.bytes_per_second or ASSUMED_BYTES_PER_SECOND
    steps: list[Step] = []
    refused: list[Refusal] = []
    for candidate in sorted(candidates, key=lambda c: -(c.gain_bytes or 0)):
        seconds = candidate.lock_seconds(rate)
        action = action_of(candidate, seconds, conditions)
        reason = _refusal(candidate, seconds, conditions)
        if reason:
            refused.append(Refusal(action, reason))
        else:
            steps.append(Step(action, candidate.oid, predicted_seconds=seconds))
    return steps, refused


def action_of(candidate: Candidate, seconds: float, conditions: Conditions) -> Action:
    """Return the action with what it is expected to cost and to gain."""
    gain = candidate.gain_bytes
    guess = "" if conditions.bytes_per_second else " (a guess: none was rewritten here before)"
    return Action(
        kind=KIND,
        subject=candidate.qualified_name,
        statement=candidate.statement,
        reason="its bloat was not measured" if gain is None else f"{bytes_in_words(gain)} of bloat",
        predicted={
            "gain_bytes": gain,
            "lock": "ACCESS EXCLUSIVE: nobody reads or writes the table meanwhile",
            "lock_seconds": round(seconds, 1),
            "lock_in_words": f"{seconds_in_words(seconds)}{guess}",
            "disk_bytes": candidate.disk_bytes,
        },
    )


def _refusal(candidate: Candidate, seconds: float, conditions: Conditions) -> str:
    """Return the first reason not to rewrite a table; empty where nothing speaks against it."""
    return next(filter(None, _refusals(candidate, seconds, conditions)), "")


def _refusals(candidate: Candidate, seconds: float, conditions: Conditions) -> Iterator[str]:
    if candidate.is_catalog:
        yield "it belongs to the server, which needs its catalogs at every moment"
    if not candidate.may_maintain:
        yield "the role may not: it needs ownership, or from PostgreSQL 17 on GRANT MAINTAIN"
    gain = candidate.gain_bytes
    if gain is None:
        missing = candidate.bloat.missing if candidate.bloat else "a page with rows"
        yield f"its bloat could not be measured: it needs {missing}"
    elif gain < conditions.minimum_gain_ratio * candidate.heap_bytes:
        yield (
            f"it would give back {bytes_in_words(gain)} of {bytes_in_words(candidate.heap_bytes)},"
            f" less than {percent(conditions.minimum_gain_ratio)}: not worth the lock"
        )
    for holder in conditions.holders:
        if _is_old(holder):
            yield (
                f"{holder.in_words} may still see its dead rows, which would be copied."
                f" {holder.remedy}"
            )
    if candidate.disk is not None:
        yield refusal_for_disk(candidate.disk, candidate.disk_bytes, conditions.size_limit_bytes)
    yield _not_agreed(seconds, conditions.lock_limit_seconds)


def _is_old(holder: XminHolder) -> bool:
    if holder.catalogs_only:
        return False
    if holder.transaction_seconds is not None:
        return holder.transaction_seconds >= OLD_TRANSACTION_SECONDS
    # Of a session that hides its times, and a slot that nobody moves on, the worst is to be assumed.
    moves_on = holder.kind == "standby" or holder.state == "active"
    return not moves_on or holder.xid_age >= OLD_TRANSACTIONS


def _not_agreed(seconds: float, limit: float) -> str:
    predicted = seconds_in_words(seconds)
    if limit <= 0:
        return (
            f"nobody has agreed to the lock: it is expected to last {predicted}. Confirm with the"
            " option lock_limit_seconds, after which it is ended"
        )
    if seconds > limit:
        return (
            f"the lock is expected to last {predicted}, more than the {seconds_in_words(limit)} that"
            " lock_limit_seconds agrees to"
        )
    return ""
