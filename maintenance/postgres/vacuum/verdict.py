"""Whether a VACUUM or ANALYZE did what it was run for. Pure: two measurements in, a verdict out."""

from dataclasses import dataclass, replace

from maintenance.core.plans import Verdict
from maintenance.core.wording import counted
from maintenance.postgres.activity.sessions import XminHolder
from maintenance.postgres.vacuum.output import VacuumOutput
from maintenance.postgres.vacuum.plan import TableTask
from maintenance.postgres.vacuum.table_state import TableState


@dataclass(frozen=True, slots=True)
class Observed:
    """What was seen of one table before and after its statement.

    ``after`` is ``None`` if the table is gone. ``holders`` is filled only where
    :func:`needs_holders`.
    """

    before: TableState
    after: TableState | None
    output: VacuumOutput
    holders: tuple[XminHolder, ...] = ()

    def with_holders(self, holders: tuple[XminHolder, ...]) -> "Observed":
        """Return the same with what holds back VACUUM."""
        return replace(self, holders=holders)


def needs_holders(task: TableTask, observed: Observed) -> bool:
    """Tell whether the verdict has to name what holds back VACUUM."""
    if observed.output.unremovable_rows or _still_counted(task, observed):
        return True
    after = observed.after
    return task.needs.freeze and after is not None and not _was_frozen(observed.before, after)


def verdict_of(task: TableTask, observed: Observed) -> tuple[Verdict, str]:
    """Judge one task: by the counters that it must have moved, then by what it removed."""
    after = observed.after
    if after is None:
        return Verdict.REFUSED, "the table was dropped while it was worked on"
    not_run = _not_run(task, observed.before, after)
    if not_run:
        why = "; ".join(observed.output.warnings) or "the server does not say why"
        return Verdict.FAILED, f"the server did not {not_run} it: {why}"
    if not task.needs.vacuum:
        return Verdict.WORKED, "statistics are fresh"
    blocked = _blocked(task, observed, after)
    return (Verdict.BLOCKED, blocked) if blocked else _success(task, observed)


def _blocked(task: TableTask, observed: Observed, after: TableState) -> str:
    """Say what a VACUUM that ran could not do, and who stood in its way; empty where it could."""
    removed = observed.output.removed_rows or 0
    kept = observed.output.unremovable_rows or 0
    if kept > max(removed, task.needs.dead_rows_due):
        return _blocked_sentence(removed, kept, observed.holders)
    if observed.holders and _still_counted(task, observed):
        return _still_counted_sentence(after.dead_rows, observed.holders)
    if task.needs.freeze and not _was_frozen(observed.before, after):
        return _not_frozen_sentence(observed.holders)
    return ""


def _still_counted(task: TableTask, observed: Observed) -> bool:
    """Tell whether the counters say what VACUUM did not, in words that are understood.

    Most of the dead rows are still there, and more than make it due. Rows that died since count as
    well: without a holder they are taken for such.
    """
    after = observed.after
    if after is None or not task.needs.vacuum or observed.output.unremovable_rows is not None:
        return False
    gone = observed.before.dead_rows - after.dead_rows
    return after.dead_rows > max(gone, task.needs.dead_rows_due)


def _not_run(task: TableTask, before: TableState, after: TableState) -> str:
    if task.needs.vacuum and after.vacuum_count <= before.vacuum_count:
        return "vacuum"
    if task.needs.analyze and after.analyze_count <= before.analyze_count:
        return "analyze"
    return ""


def _was_frozen(before: TableState, after: TableState) -> bool:
    """Tell whether either age went down; both stand still while something holds the horizon."""
    xid = before.xid_age is not None and (after.xid_age or 0) < before.xid_age
    multixact = (
        before.multixact_age is not None and (after.multixact_age or 0) < before.multixact_age
    )
    return xid or multixact


def _blocked_sentence(removed: int, kept: int, holders: tuple[XminHolder, ...]) -> str:
    stay = f"{counted(kept, 'dead row')} could not be removed"
    gone = f", {counted(removed, 'row')} could" if removed else ""
    return f"{stay}{gone}: {_held_by(holders)}"


def _still_counted_sentence(dead_rows: int, holders: tuple[XminHolder, ...]) -> str:
    return (
        f"{counted(dead_rows, 'dead row')} are still counted after it: {_held_by(holders)} (What it"
        " removed is not known: the server's messages are translated. GRANT SET ON PARAMETER"
        " lc_messages to the maintenance role, from PostgreSQL 15 on)"
    )


def _not_frozen_sentence(holders: tuple[XminHolder, ...]) -> str:
    return f"its age did not go down: {_held_by(holders)}"


def _held_by(holders: tuple[XminHolder, ...]) -> str:
    if not holders:
        return "whatever held them back ended meanwhile; the next run removes them"
    oldest = holders[0]
    others = f" (and {len(holders) - 1} younger)" if len(holders) > 1 else ""
    return f"{oldest.in_words}{others} may still see them. {oldest.remedy}"


def _success(task: TableTask, observed: Observed) -> tuple[Verdict, str]:
    removed, kept = observed.output.removed_rows, observed.output.unremovable_rows
    if removed is None:
        left = observed.after.dead_rows if observed.after else 0
        return Verdict.WORKED, f"vacuumed; {counted(left, 'dead row')} counted now"
    parts = [f"{counted(removed, 'dead row')} removed"] if removed else []
    if kept:
        parts.append(f"{counted(kept, 'dead row')} must stay for running transactions")
    if task.needs.freeze:
        parts.append("old rows frozen")
    if task.needs.analyze:
        parts.append("statistics are fresh")
    if parts:
        return Verdict.WORKED, ", ".join(parts)
    if observed.before.dead_rows > 0:
        # Queries prune pages as they read them: the counter then promises more than is left.
        return Verdict.NO_GAIN, "no dead row was left to remove"
    return Verdict.WORKED, "visibility map brought up to date"
