"""The site without one of its guards, so that the harness can be seen to find what they prevent."""

import os
from typing import Any


def take_out() -> None:
    """Take out of this process what ``FAULTS_WITHOUT`` names."""
    guard = os.environ.get("FAULTS_WITHOUT", "")
    if guard:
        GUARDS[guard]()


def _unique_slots() -> None:
    """Give each row an id of its own and know of no other; the driver drops the unique key."""
    import uuid

    from maintenance.core.scheduling import slot_rows

    slot_rows.slot_id = lambda *_slot: uuid.uuid4()
    slot_rows._known_slots = lambda dues: set()  # noqa: ARG005 - the name it has there


def _fence() -> None:
    """Let an attempt that has lost its lease go on, end its run, and keep its sessions."""
    from maintenance.core.reports import Report, ReportDocument
    from maintenance.core.runs import ledger, runner
    from maintenance.models import Run, RunState

    fenced_finish = ledger.finish

    def heartbeat(run: Run, **progress: Any) -> None:
        Run.objects.filter(id=run.id).update(**progress)

    def finish(
        run: Run, state: RunState, report: Report, reason: str = "", *, keeps_files: bool = True
    ) -> ReportDocument:
        run.attempt = Run.objects.values_list("attempt", flat=True).get(id=run.id)
        return fenced_finish(run, state, report, reason, keeps_files=keeps_files)

    ledger.heartbeat = heartbeat
    ledger.who_asked_to_stop = lambda run: None  # noqa: ARG005 - the name it has there
    ledger.finish = finish
    setattr(runner, "end_expired_sessions", lambda *_target, **_needs: ())  # noqa: B010 - no export


GUARDS = {"unique key": _unique_slots, "fence": _fence}
