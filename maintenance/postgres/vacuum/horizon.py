"""Vacuums that ran and removed nothing, and who kept the dead rows alive. Pure."""

from collections.abc import Iterator, Sequence

from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import counted, listed, seconds_in_words
from maintenance.postgres.activity.sessions import XminHolder
from maintenance.postgres.vacuum.overdue import Upkeep
from maintenance.postgres.vacuum.triggers import Rule


def fruitless(
    upkeep: Sequence[Upkeep], holders: Sequence[XminHolder], measured_at: float
) -> list[Upkeep]:
    """Return tables that were vacuumed while the oldest holder stood, and are due all the same.

    Without a holder from before the VACUUM nothing is claimed: the rows may have died since.
    """
    if not holders:
        return []
    opened_at = _since(holders[0], measured_at)
    found = [
        u
        for u in upkeep
        if any(t.rule is Rule.DEAD_ROWS and t.is_due for t in u.triggers)
        and u.table.last_vacuum_at is not None
        and opened_at < u.table.last_vacuum_at
    ]
    return sorted(found, key=lambda u: (-u.table.dead_rows, u.subject))


def diagnose_horizon(
    tables: Sequence[Upkeep], holders: Sequence[XminHolder], measured_at: float
) -> Iterator[Finding]:
    """Say which tables were vacuumed in vain (:func:`fruitless`), and name who stands in the way."""
    if not tables:
        return
    holder = holders[0]
    dead_rows = sum(u.table.dead_rows for u in tables)
    last = max(u.table.last_vacuum_at or 0.0 for u in tables)
    others = f", and {counted(len(holders) - 1, 'younger holder')} behind it" if holders[1:] else ""
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


def _since(holder: XminHolder, measured_at: float) -> float:
    """When the holder began. A slot or a standby does not say; they last longer than any VACUUM."""
    if holder.transaction_seconds is None or holder.kind == "standby":
        return 0.0
    return measured_at - holder.transaction_seconds
