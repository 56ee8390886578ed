"""The site without one of its guards, so that the harness can be seen to find what they prevent."""

import os
from typing import Any


def take_out() -> None:
    """Take out of this process what ``FAULTS_WITHOUT`` names."""
    guard = os.environ.get("FAULTS_WITHOUT", "")
    if guard:
        GUARDS[guard]()


def _unique_slots() -> None:
    """Give each row an id of its own; the driver drops the unique key."""
    import uuid

    from maintenance.core import scheduler

    scheduler.Slot.run_id = property(lambda _slot: uuid.uuid4())  # type: ignore[assignment,method-assign]


def _fence() -> None:
    """Let an attempt go on, and end its run, that has lost its lease."""
    from maintenance.core import ledger
    from maintenance.models import Run

    def heartbeat(run: Run, **progress: Any) -> bool:
        Run.objects.filter(id=run.id).update(**progress)
        return False

    ledger.heartbeat = heartbeat


GUARDS = {"unique key": _unique_slots, "fence": _fence}
