"""Vacuums that ran and removed nothing, and who kept the dead rows alive. Pure."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import counted, listed, seconds_in_words
from maintenance.postgres.activity.sessions import XminHolder
from maintenance.postgres.vacuum.id_forecast import Look
from maintenance.postgres.vacuum.overdue import Upkeep
from maintenance.postgres.vacuum.triggers import Rule


@dataclass(frozen=True, slots=True)
class Fruitless:
    """Tables that were vacuumed in vain, and the oldest holder that is known to have stood then.

    ``younger`` counts the holders behind it.
    """

    holder: XminHolder
    younger: int
    tables: tuple[Upkeep, ...]


def fruitless(
    upkeep: Sequence[Upkeep], holders: Sequence[XminHolder], looks: Sequence[Look]
) -> Fruitless | None:
    """Return the tables that were vacuumed while a holder stood, and are due all the same.

    Without a holder that is known to be from before the VACUUM nothing is claimed: the rows may
    have died since. The last of ``looks`` is of this moment, taken after the holders were read.
    """
    due = [
        (u, u.table.last_vacuum_at)
        for u in upkeep
        if u.table.last_vacuum_at is not None
        and any(t.rule is Rule.DEAD_ROWS and t.is_due for t in u.triggers)
    ]
    last = max((vacuumed_at for _, vacuumed_at in due), default=0.0)
    stood = [(i, stood_since(holder, looks)) for i, holder in enumerate(holders)]
    stood = [(i, since) for i, since in stood if since < last]
    if not stood:
        return None
    oldest, earliest = stood[0][0], min(since for _, since in stood)
    found = [u for u, vacuumed_at in due if earliest < vacuumed_at]
    found.sort(key=lambda u: (-u.table.dead_rows, u.subject))
    return Fruitless(holders[oldest], len(holders) - oldest - 1, tuple(found))


def stood_since(holder: XminHolder, looks: Sequence[Look]) -> float:
    """Return the earliest moment from which on a holder is known to hold what it holds.

    A transaction says when it began, and a slot since when it is inactive (from 17 on). A standby
    moves on with each of its queries, so that only its age in transactions counts: what is older
    than the next ID of an earlier look was held then already.
    """
    now = looks[-1]
    oldest_xid = now.next_xid - holder.xid_age
    proofs = [look.taken_at for look in looks if oldest_xid <= look.next_xid]
    if holder.transaction_seconds is not None and holder.kind != "standby":
        proofs.append(now.taken_at - holder.transaction_seconds)
    if holder.inactive_seconds is not None:
        proofs.append(now.taken_at - holder.inactive_seconds)
    return min(proofs)


def diagnose_horizon(in_vain: Fruitless | None, measured_at: float) -> Iterator[Finding]:
    """Say which tables were vacuumed in vain, and name who stands in the way."""
    if in_vain is None:
        return
    holder, tables = in_vain.holder, in_vain.tables
    dead_rows = sum(u.table.dead_rows for u in tables)
    last = max(u.table.last_vacuum_at or 0.0 for u in tables)
    others = (
        f", and {counted(in_vain.younger, 'younger holder')} behind it" if in_vain.younger else ""
    )
    yield Finding(
        code="vacuum-removes-nothing",
        severity=Severity.WARNING,
        subject=f"{holder.kind} {holder.name}",
        sentence=(
            f"VACUUM ran {seconds_in_words(max(0.0, measured_at - last))} ago and left"
            f" {counted(dead_rows, 'dead row')} in {listed([u.subject for u in tables])}, held back"
            f" by {holder.in_words}{others}."
        ),
        evidence={
            "holder_kind": holder.kind,
            "holder": holder.name,
            "holder_transaction_seconds": holder.transaction_seconds,
            "holder_xid_age": holder.xid_age,
            "dead_rows": dead_rows,
            "tables": [u.subject for u in tables][:1000],
        },
        advice=f"{holder.remedy} The next VACUUM then removes them.",
    )
