"""Statements and transactions that have been open for too long, and what holds back VACUUM."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.reports import Table
from maintenance.core.wording import counted, seconds_in_words
from maintenance.postgres.activity.backends import ActivitySnapshot, Backend
from maintenance.postgres.activity.sessions import XminHolder

#: A session that does nothing in an open transaction waits for its application, which needs no
#: minute between two statements; its locks and its snapshot stay all that time.
IDLE_IN_TRANSACTION_SECONDS = 60.0

#: Transactions begun since the holder. At 100 a second a million are three hours of dead rows.
XMIN_AGE_WARNING = 1_000_000
#: Default of ``autovacuum_freeze_max_age``: beyond, the holder keeps even freezing from working
#: (PostgreSQL documentation, "Preventing Transaction ID Wraparound Failures").
XMIN_AGE_CRITICAL = 200_000_000


def long_statements(snapshot: ActivitySnapshot, thresholds: Thresholds) -> list[Backend]:
    """Return the sessions of this database whose statement runs for too long, longest first."""
    found = [
        backend
        for backend in snapshot.backends
        if backend.here
        and backend.state in {"active", "fastpath function call"}
        and backend.leader_pid in {None, backend.pid}
        and backend.backend_type != "walsender"
        and (backend.statement_seconds or 0) >= thresholds.long_running_seconds
    ]
    return sorted(found, key=lambda backend: -(backend.statement_seconds or 0))


def idle_limit_seconds(thresholds: Thresholds) -> float:
    """Return how long a transaction may sit idle: never longer than a statement may run."""
    return min(IDLE_IN_TRANSACTION_SECONDS, thresholds.long_running_seconds)


def idle_transactions(snapshot: ActivitySnapshot, thresholds: Thresholds) -> list[Backend]:
    """Return the sessions of this database that sit idle in a transaction, longest first."""
    limit = idle_limit_seconds(thresholds)
    found = [
        backend
        for backend in snapshot.backends
        if backend.here and backend.is_idle_in_transaction and (backend.state_seconds or 0) >= limit
    ]
    return sorted(found, key=lambda backend: -(backend.state_seconds or 0))


def diagnose_long_running(
    snapshot: ActivitySnapshot, holders: Sequence[XminHolder], thresholds: Thresholds
) -> Iterator[Finding]:
    """Judge statements, idle transactions and holders; a session that is all three is named once."""
    held = {holder.name: holder for holder in holders if holder.kind == "session"}
    named: set[str] = set()
    for backend in long_statements(snapshot, thresholds):
        named.add(str(backend.pid))
        yield _statement_finding(backend, held.get(str(backend.pid)), thresholds)
    for backend in idle_transactions(snapshot, thresholds):
        named.add(str(backend.pid))
        yield _idle_finding(backend, held.get(str(backend.pid)), thresholds)
    for holder in holders:
        if holder.kind == "session" and holder.name in named:
            continue
        if _holds_for_long(holder, thresholds):
            yield _holder_finding(holder)


def _statement_finding(
    backend: Backend, holder: XminHolder | None, thresholds: Thresholds
) -> Finding:
    seconds = backend.statement_seconds or 0
    return Finding(
        code="long-running",
        severity=Severity.INFO if backend.is_upkeep else Severity.WARNING,
        subject=backend.subject,
        sentence=(
            f"{_capitalised(backend.in_words)} has run one statement for"
            f" {seconds_in_words(seconds)}{_held_clause(holder)}: {_statement(backend)}"
        ),
        evidence=_evidence(backend, holder, limit_seconds=thresholds.long_running_seconds),
        advice=(
            "Upkeep may take long; look only if it does not end."
            if backend.is_upkeep
            else "Find out who needs it; if nobody waits for the answer, cancel it."
        ),
        commands=() if backend.is_upkeep else (backend.cancel_command(),),
    )


def _idle_finding(backend: Backend, holder: XminHolder | None, thresholds: Thresholds) -> Finding:
    seconds = backend.state_seconds or 0
    return Finding(
        code="idle-in-transaction",
        severity=Severity.WARNING,
        subject=backend.subject,
        sentence=(
            f"{_capitalised(backend.in_words)} has done nothing for {seconds_in_words(seconds)}"
            f" and keeps its locks{_held_clause(holder)}; its last statement: {_statement(backend)}"
        ),
        evidence=_evidence(backend, holder, limit_seconds=idle_limit_seconds(thresholds)),
        advice=(
            "Find where the application leaves a transaction open while it does something else;"
            " idle_in_transaction_session_timeout ends such sessions by itself."
        ),
        commands=(backend.terminate_command(),),
    )


def _holder_finding(holder: XminHolder) -> Finding:
    critical = holder.xid_age >= XMIN_AGE_CRITICAL
    return Finding(
        code="xmin-held",
        severity=Severity.CRITICAL if critical else Severity.WARNING,
        subject=f"{holder.kind} {holder.name}",
        sentence=(
            f"{_capitalised(holder.in_words)} keeps VACUUM from removing rows that died in the"
            f" last {counted(holder.xid_age, 'transaction')}."
        ),
        evidence={
            "kind": holder.kind,
            "xid_age": holder.xid_age,
            "transaction_seconds": holder.transaction_seconds,
        },
        advice=holder.remedy,
    )


def _holds_for_long(holder: XminHolder, thresholds: Thresholds) -> bool:
    old = (holder.transaction_seconds or 0) >= thresholds.long_running_seconds
    return old or holder.xid_age >= XMIN_AGE_WARNING


def _held_clause(holder: XminHolder | None) -> str:
    if holder is None:
        return ""
    return (
        " and keeps VACUUM from removing rows that died in the last"
        f" {counted(holder.xid_age, 'transaction')}"
    )


def _statement(backend: Backend) -> str:
    return backend.statement or "(not shown)"


def _capitalised(text: str) -> str:
    return text[:1].upper() + text[1:]


def _evidence(
    backend: Backend, holder: XminHolder | None, *, limit_seconds: float
) -> dict[str, Any]:
    return {
        "statement": backend.statement,
        "query_id": backend.query_id,
        "client_address": backend.client_address,
        "statement_seconds": backend.statement_seconds,
        "transaction_seconds": backend.transaction_seconds,
        "state_seconds": backend.state_seconds,
        "xid_age": holder.xid_age if holder else None,
        "limit_seconds": limit_seconds,
    }


def sessions_table(title: str, backends: Iterable[Backend]) -> Table:
    """Return sessions with what they do."""
    return Table.of(title, [_row(backend) for backend in backends])


def _row(backend: Backend) -> Mapping[str, Any]:
    return {
        "pid": backend.pid,
        "user": backend.user_name,
        "application": backend.application_name,
        "client_address": backend.client_address,
        "state": backend.state,
        "statement_seconds": backend.statement_seconds,
        "transaction_seconds": backend.transaction_seconds,
        "state_seconds": backend.state_seconds,
        "statement": backend.statement,
        "query_id": backend.query_id,
    }


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
                "transaction_seconds": holder.transaction_seconds,
                "xid_age": holder.xid_age,
            }
            for holder in holders
        ],
    )
