"""Replication slots: what the server keeps for those who may never come back for it.

Source: PostgreSQL documentation, "Replication Slots" and ``pg_replication_slots``.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - it is a class

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Sample, Table
from maintenance.core.wording import bytes_in_words, counted, seconds_in_words
from maintenance.postgres.server.aspect import Aspect
from maintenance.postgres.sql_files import query


@dataclass(frozen=True, slots=True)
class ReplicationSlot:
    """One slot. ``retained_bytes`` of WAL are kept for it; ``safe_wal_bytes`` may still be written
    before it is lost, ``None`` without a limit. ``inactive_seconds`` is known from 17 on."""

    name: str
    kind: str
    database: str | None
    is_active: bool
    is_temporary: bool
    wal_status: str | None
    safe_wal_bytes: int | None
    retained_bytes: int | None
    unconfirmed_bytes: int | None
    xid_age: int | None
    is_synced: bool
    invalidation_reason: str | None
    inactive_seconds: float | None
    is_unlimited: bool
    drop_command: str

    @property
    def is_lost(self) -> bool:
        """Whether its WAL is gone: its consumer cannot go on."""
        return self.wal_status == "lost" or bool(self.invalidation_reason)

    @property
    def in_words(self) -> str:
        """Name it, with the database of a logical one."""
        where = f' of database "{self.database}"' if self.database else ""
        return f'{self.kind} replication slot "{self.name}"{where}'


def examine_replication_slots(
    conn: Connection,
    thresholds: Thresholds,
    previous: Mapping[str, Any],  # noqa: ARG001 - a slot says itself how far behind it is
) -> Aspect:
    """Judge every slot of the server."""
    slots = [
        ReplicationSlot(**row, drop_command=_drop_command(conn, row["name"]))
        for row in query(conn, "replication_slots")
    ]
    retained = max((slot.retained_bytes or 0 for slot in slots), default=0)
    idle = sum(not slot.is_active for slot in slots)
    clause = "no replication slot"
    if slots:
        clause = (
            f"{counted(len(slots), 'replication slot')} ({idle:,} inactive), for which"
            f" {bytes_in_words(retained)} of WAL are kept"
        )
    return Aspect(
        clause,
        tuple(finding for slot in slots for finding in diagnose_slot(slot, thresholds)),
        tables=(_table(slots),) if slots else (),
        facts={"replication_slots": len(slots), "inactive_slots": idle},
        samples=(Sample("slot_retained_bytes", retained),),
    )


def _drop_command(conn: Connection, name: str) -> str:
    statement = sql.SQL("SELECT pg_drop_replication_slot({});").format(sql.Literal(name))
    return str(statement.as_string(conn))


def diagnose_slot(slot: ReplicationSlot, thresholds: Thresholds) -> Iterator[Finding]:
    """Name a slot that is lost, about to be, or keeps much WAL.

    A copy that a standby keeps in step with its primary (17 and later) is idle on purpose, and a
    temporary slot goes with its session.
    """
    if slot.is_lost:
        yield _lost(slot)
        return
    if slot.is_synced or slot.is_temporary:
        return
    retained = slot.retained_bytes or 0
    if slot.wal_status == "unreserved":
        yield _about_to_be_lost(slot)
    elif retained >= thresholds.slot_retained_warning_bytes:
        yield _keeps_wal(slot, retained, thresholds)
    elif not slot.is_active:
        yield _inactive(slot, retained)


def _lost(slot: ReplicationSlot) -> Finding:
    why = f" ({slot.invalidation_reason})" if slot.invalidation_reason else ""
    return Finding(
        code="slot-lost",
        severity=Severity.CRITICAL if slot.is_active else Severity.WARNING,
        subject=slot.name,
        sentence=(
            f"The {slot.in_words} is lost{why}: WAL that its consumer needs is gone, so that the"
            " consumer can never catch up."
        ),
        evidence=_evidence(slot),
        advice="Drop the slot and set its consumer up anew from a fresh copy.",
        commands=(slot.drop_command,),
    )


def _about_to_be_lost(slot: ReplicationSlot) -> Finding:
    return Finding(
        code="slot-unreserved",
        severity=Severity.CRITICAL,
        subject=slot.name,
        sentence=(
            f"The {slot.in_words} is past max_slot_wal_keep_size: the next checkpoint may remove WAL"
            f" that its consumer needs, {bytes_in_words(slot.retained_bytes or 0)} behind."
        ),
        evidence=_evidence(slot),
        advice="Bring its consumer back now, or raise max_slot_wal_keep_size (a reload is enough).",
    )


def _keeps_wal(slot: ReplicationSlot, retained: int, thresholds: Thresholds) -> Finding:
    critical = retained >= thresholds.slot_retained_critical_bytes
    end = "nothing stops it before the disk is full"
    if not slot.is_unlimited:
        end = "it is lost at max_slot_wal_keep_size"
        if slot.safe_wal_bytes is not None:
            end = f"it is lost after {bytes_in_words(max(0, slot.safe_wal_bytes))} more"
    return Finding(
        code="slot-retains-wal",
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        subject=slot.name,
        sentence=(
            f"The {slot.in_words} {_activity(slot)} and keeps {bytes_in_words(retained)} of WAL;"
            f" {end}."
        ),
        evidence={**_evidence(slot), "limit_bytes": thresholds.slot_retained_warning_bytes},
        advice=(
            "Find out why its consumer is behind."
            if slot.is_active
            else "Bring its consumer back. Drop the slot only if nobody needs it: its consumer then"
            " has to be set up anew."
        ),
        commands=() if slot.is_active else (slot.drop_command,),
    )


def _inactive(slot: ReplicationSlot, retained: int) -> Finding:
    held = f" and holds back VACUUM by {slot.xid_age:,} transactions" if slot.xid_age else ""
    return Finding(
        code="slot-inactive",
        severity=Severity.INFO,
        subject=slot.name,
        sentence=(
            f"The {slot.in_words} {_activity(slot)}; it keeps {bytes_in_words(retained)} of WAL so"
            f" far{held}."
        ),
        evidence=_evidence(slot),
        advice="If its consumer does not come back, drop the slot before it fills the disk.",
        commands=(slot.drop_command,),
    )


def _activity(slot: ReplicationSlot) -> str:
    if slot.is_active:
        return "is in use"
    if slot.inactive_seconds is None:
        return "has no consumer at this moment"
    return f"has had no consumer for {seconds_in_words(max(0.0, slot.inactive_seconds))}"


def _evidence(slot: ReplicationSlot) -> dict[str, Any]:
    return {
        "kind": slot.kind,
        "database": slot.database,
        "is_active": slot.is_active,
        "wal_status": slot.wal_status,
        "retained_bytes": slot.retained_bytes,
        "safe_wal_bytes": slot.safe_wal_bytes,
        "unconfirmed_bytes": slot.unconfirmed_bytes,
        "xid_age": slot.xid_age,
        "inactive_seconds": slot.inactive_seconds,
    }


def _table(slots: Sequence[ReplicationSlot]) -> Table:
    return Table.of("Replication slots", [{"slot": slot.name, **_evidence(slot)} for slot in slots])
