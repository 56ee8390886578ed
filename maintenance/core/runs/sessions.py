"""Sessions of runs on their targets: what a lost worker left is ended before its successor begins.

What a session is, and how it is ended, the subjects know: see :mod:`maintenance.core.runs.target_sessions`.
"""

import logging
import uuid
from collections.abc import Collection, Iterable
from typing import Any

from maintenance.core.findings import Finding, Severity
from maintenance.core.redaction import redact
from maintenance.core.run_marks import Ended, RunMark
from maintenance.core.runs.registry import TaskSpec
from maintenance.core.runs.target_sessions import sessions_on
from maintenance.models import Run, RunState

logger = logging.getLogger("maintenance.sessions")


def end_expired_sessions(spec: TaskSpec, target: Any, *, needs: bool) -> tuple[Finding, ...]:
    """End the sessions of attempts that do not hold their run any more; say what came of it.

    Whichever run they are of: one that was given up has no successor of its own. ``needs`` is
    whether this run is one that must not begin beside them. Runs that this ledger does not know
    are somebody else's. Raises what connecting to the target raises.
    """
    sessions = sessions_on(spec.target_kind)
    if sessions is None or target is None or not needs:
        return ()
    return tuple(_findings(sessions.end(target, _expired)))


def _expired(marks: Collection[RunMark]) -> Collection[RunMark]:
    """Choose the attempts of known runs that are not at work by the ledger."""
    ids = {uuid.UUID(mark.run_id) for mark in marks}
    rows = Run.objects.filter(id__in=ids).values_list("id", "attempt", "state")
    known = {run_id.hex: (attempt, state) for run_id, attempt, state in rows}
    return [
        mark
        for mark in marks
        if mark.run_id in known and known[mark.run_id] != (mark.attempt, RunState.RUNNING)
    ]


def _findings(found: Ended) -> Iterable[Finding]:
    if found.ended:
        logger.warning("Ended sessions of lost workers: %s", ", ".join(found.ended))
        yield Finding(
            code="expired-sessions-ended",
            severity=Severity.INFO,
            subject="sessions",
            sentence=(
                f"A worker that lost its run had left {_sessions(found.ended)} on the target;"
                " they were ended before this run began."
            ),
            evidence={"sessions": list(found.ended)},
        )
    if found.left:
        yield Finding(
            code="expired-sessions-left",
            severity=Severity.WARNING,
            subject="sessions",
            sentence=(
                f"A worker that lost its run has left {_sessions(found.left)} on the target, which"
                f" could not be ended: {found.refusal}. This run went to work beside them."
            ),
            evidence={"sessions": list(found.left)},
            advice=(
                "Use one role for all workers, or give theirs the right to end each other's sessions."
            ),
            commands=("GRANT pg_signal_backend TO <maintenance role>;",),
        )


def _sessions(names: Collection[str]) -> str:
    return "1 session" if len(names) == 1 else f"{len(names)} sessions"


class Interruption:
    """Ends what one attempt has at work on its target: first its statements, then its sessions.

    For a run that has to stop while its thread waits for a statement. Without sessions on this kind of
    target there is nothing to end, and the run stops at its next batch.
    """

    def __init__(self, spec: TaskSpec, target: Any, mark: RunMark) -> None:
        self._sessions = sessions_on(spec.target_kind) if target is not None else None
        self._target = target
        self._mark = mark
        #: Whether anything was ended: what the work returns is not to be trusted then.
        self.struck = False

    def cancel(self, older_than_seconds: float) -> None:
        """Cancel statements that began before the request to stop: what tidies up goes on."""
        if self._sessions is None:
            return
        try:
            cancelled = self._sessions.cancel(
                self._target, self._mark, older_than_seconds=older_than_seconds
            )
        except Exception as error:  # noqa: BLE001 - whatever it is, the next look tries again
            logger.warning("Statements of run %s: %s", self._mark, redact(str(error)))
        else:
            self.struck |= cancelled > 0

    def end(self) -> None:
        """End the sessions."""
        if self._sessions is None:
            return
        try:
            found = self._sessions.end(self._target, lambda marks: {self._mark} & set(marks))
        except Exception as error:  # noqa: BLE001 - whatever it is, the next look tries again
            logger.warning("Sessions of run %s: %s", self._mark, redact(str(error)))
        else:
            self.struck |= bool(found.ended)
