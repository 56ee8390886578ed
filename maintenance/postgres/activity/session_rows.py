"""Sessions as evidence and as rows of a table."""

from collections.abc import Iterable, Mapping
from typing import Any

from maintenance.core.reports import Table
from maintenance.postgres.activity.backends import Backend
from maintenance.postgres.activity.sessions import XminHolder


def session_evidence(
    backend: Backend, holder: XminHolder | None, *, limit_seconds: float
) -> dict[str, Any]:
    """Return what is known of a session and its times."""
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
