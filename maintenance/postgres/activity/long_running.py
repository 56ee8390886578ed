"""Statements and transactions that have been open for too long."""

from collections.abc import Iterator, Mapping

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import seconds_in_words
from maintenance.postgres.activity.backends import ActivitySnapshot, Backend
from maintenance.postgres.activity.ending import ending_commands, loss_in_words
from maintenance.postgres.activity.idle import idle_limit_seconds
from maintenance.postgres.activity.session_rows import session_evidence
from maintenance.postgres.activity.sessions import XminHolder, held_clause


def long_statements(snapshot: ActivitySnapshot, thresholds: Thresholds) -> list[Backend]:
    """Return the sessions of this database whose statement runs for too long, longest first."""
    found = [
        backend
        for backend in snapshot.backends
        if _works_here(backend)
        and (backend.statement_seconds or 0) >= thresholds.long_running_seconds
    ]
    return sorted(found, key=lambda backend: -(backend.statement_seconds or 0))


def long_transactions(snapshot: ActivitySnapshot, thresholds: Thresholds) -> list[Backend]:
    """Return the sessions whose transaction is open for too long, statement after statement.

    Those whose statement alone runs for too long, or that sit idle, are left to their own findings.
    """
    found = [
        backend
        for backend in snapshot.backends
        if (_works_here(backend) or (backend.here and backend.is_idle_in_transaction))
        and (backend.transaction_seconds or 0) >= thresholds.long_running_seconds
        and (backend.statement_seconds or 0) < thresholds.long_running_seconds
        and not (
            backend.is_idle_in_transaction
            and (backend.state_seconds or 0) >= idle_limit_seconds(thresholds)
        )
    ]
    return sorted(found, key=lambda backend: -(backend.transaction_seconds or 0))


def _works_here(backend: Backend) -> bool:
    return (
        backend.here
        and backend.state in {"active", "fastpath function call"}
        and backend.leader_pid in {None, backend.pid}
        and backend.backend_type != "walsender"
    )


def diagnose_long_running(
    snapshot: ActivitySnapshot, holders: Mapping[str, XminHolder], thresholds: Thresholds
) -> Iterator[Finding]:
    """Judge statements and transactions; ``holders`` are sessions by their process id as text."""
    for backend in long_statements(snapshot, thresholds):
        seconds = seconds_in_words(backend.statement_seconds or 0)
        did = f"has run one statement for {seconds}"
        yield _finding("long-running", did, backend, holders, thresholds)
    for backend in long_transactions(snapshot, thresholds):
        seconds = seconds_in_words(backend.transaction_seconds or 0)
        did = f"has run statement after statement in one transaction for {seconds}"
        yield _finding("long-transaction", did, backend, holders, thresholds)


def _finding(
    code: str,
    did: str,
    backend: Backend,
    holders: Mapping[str, XminHolder],
    thresholds: Thresholds,
) -> Finding:
    holder = holders.get(str(backend.pid))
    return Finding(
        code=code,
        severity=Severity.INFO if backend.is_upkeep else Severity.WARNING,
        subject=backend.subject,
        sentence=(
            f"{backend.in_words[:1].upper()}{backend.in_words[1:]} {did}{held_clause(holder)}:"
            f" {backend.statement or '(not shown)'}"
        ),
        evidence=session_evidence(backend, holder, limit_seconds=thresholds.long_running_seconds),
        advice=(
            "Upkeep may take long; look only if it does not end."
            if backend.is_upkeep
            else "Find out who needs it; if nobody waits for the answer, cancel it."
            f" {loss_in_words(backend)}"
        ),
        commands=() if backend.is_upkeep else ending_commands(backend),
    )
