"""Sessions that sit idle in an open transaction: they wait for their application, and keep locks."""

from collections.abc import Iterator, Mapping

from maintenance.conf import Thresholds
from maintenance.core.findings import Finding, Severity
from maintenance.core.wording import seconds_in_words
from maintenance.postgres.activity.backends import ActivitySnapshot, Backend
from maintenance.postgres.activity.ending import ending_commands, loss_in_words
from maintenance.postgres.activity.session_rows import session_evidence
from maintenance.postgres.activity.sessions import XminHolder, held_clause

#: A session that does nothing in an open transaction waits for its application, which needs no
#: minute between two statements; its locks stay all that time.
IDLE_IN_TRANSACTION_SECONDS = 60.0


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


def diagnose_idle(
    snapshot: ActivitySnapshot, holders: Mapping[str, XminHolder], thresholds: Thresholds
) -> Iterator[Finding]:
    """Name each; ``holders`` are sessions by their process id as text.

    A reader at READ COMMITTED holds back no vacuum while it sits idle; a writer does.
    """
    for backend in idle_transactions(snapshot, thresholds):
        holder = holders.get(str(backend.pid))
        seconds = seconds_in_words(backend.state_seconds or 0)
        yield Finding(
            code="idle-in-transaction",
            severity=Severity.WARNING,
            subject=backend.subject,
            sentence=(
                f"{backend.in_words[:1].upper()}{backend.in_words[1:]} has done nothing for"
                f" {seconds} and keeps its locks{held_clause(holder)}; its last statement:"
                f" {backend.statement or '(not shown)'}"
            ),
            evidence=session_evidence(
                backend, holder, limit_seconds=idle_limit_seconds(thresholds)
            ),
            advice=(
                "Find where the application leaves a transaction open while it does something else;"
                " idle_in_transaction_session_timeout ends such sessions by itself."
                f" {loss_in_words(backend)}"
            ),
            commands=ending_commands(backend),
        )
