"""What keeps VACUUM from removing dead rows: the oldest of these decides for all tables."""

from collections.abc import Collection, Iterable, Iterator, Mapping

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Table
from maintenance.core.wording import bytes_in_words, counted
from maintenance.postgres.activity.backends import Backend
from maintenance.postgres.activity.ending import ending_commands, loss_in_words
from maintenance.postgres.activity.sessions import XminHolder

#: Transactions begun since the holder. At 100 a second a million are three hours of dead rows.
XMIN_AGE_WARNING = 1_000_000
#: Default of ``autovacuum_freeze_max_age``: beyond, the holder keeps even freezing from working
#: (PostgreSQL documentation, "Preventing Transaction ID Wraparound Failures").
XMIN_AGE_CRITICAL = 200_000_000


def sessions_among(holders: Iterable[XminHolder]) -> dict[str, XminHolder]:
    """Return the sessions by their process id as text."""
    return {holder.name: holder for holder in holders if holder.kind == "session"}


def diagnose_holders(
    holders: Iterable[XminHolder],
    backends: Mapping[int, Backend],
    thresholds: Thresholds,
    *,
    named: Collection[str] = (),
) -> Iterator[Finding]:
    """Judge holders by age in time and in transactions; sessions that were ``named`` are left out."""
    for holder in holders:
        if holder.kind == "session" and f"process {holder.name}" in named:
            continue
        if holds_for_long(holder, thresholds):
            yield _finding(holder, _session(holder, backends))


def holds_for_long(holder: XminHolder, thresholds: Thresholds) -> bool:
    """Tell whether a holder is old, in time or in transactions."""
    old = (holder.transaction_seconds or 0) >= thresholds.long_running_seconds
    return old or holder.xid_age >= XMIN_AGE_WARNING


def _session(holder: XminHolder, backends: Mapping[int, Backend]) -> Backend | None:
    if holder.kind != "session":
        return None
    backend = backends.get(int(holder.name))
    # Upkeep holds for as long as it works, and gives nothing to a person who ends it.
    return None if backend is None or backend.is_upkeep else backend


def _finding(holder: XminHolder, backend: Backend | None) -> Finding:
    critical = holder.xid_age >= XMIN_AGE_CRITICAL
    rows = "rows of the system catalogs" if holder.catalogs_only else "rows"
    kept = ""
    if holder.kept_wal_bytes is not None:
        kept = f", and {bytes_in_words(holder.kept_wal_bytes)} of WAL from being removed"
    loss = f" {loss_in_words(backend)}" if backend else ""
    return Finding(
        code="xmin-held",
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        subject=f"{holder.kind} {holder.name}",
        sentence=(
            f"{holder.in_words[:1].upper()}{holder.in_words[1:]} keeps VACUUM from removing {rows}"
            f" that died in the last {counted(holder.xid_age, 'transaction')}{kept}."
        ),
        evidence={
            "kind": holder.kind,
            "xid_age": holder.xid_age,
            "catalogs_only": holder.catalogs_only,
            "transaction_seconds": holder.transaction_seconds,
            "inactive_seconds": holder.inactive_seconds,
            "kept_wal_bytes": holder.kept_wal_bytes,
        },
        advice=f"{holder.remedy}{loss}",
        commands=ending_commands(backend) if backend else (),
    )


def holders_table(holders: Iterable[XminHolder]) -> Table:
    """Return what holds back VACUUM, the oldest first."""
    return Table.of(
        "What keeps VACUUM from removing dead rows",
        [
            {
                "kind": holder.kind,
                "name": holder.name,
                "user": holder.user_name,
                "application": holder.application_name,
                "state": holder.state,
                "holds": "system catalogs" if holder.catalogs_only else "all tables",
                "transaction_seconds": holder.transaction_seconds,
                "inactive_seconds": holder.inactive_seconds,
                "kept_wal_bytes": holder.kept_wal_bytes,
                "xid_age": holder.xid_age,
            }
            for holder in holders
        ],
    )
