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

    from maintenance.core import slot_rows

    slot_rows.slot_id = lambda *_slot: uuid.uuid4()
    slot_rows._known_slots = lambda dues: set()  # noqa: ARG005 - the name it has there


def _fence() -> None:
    """Let an attempt go on, and end its run, that has lost its lease."""
    from maintenance.core import ledger
    from maintenance.models import Run

    def heartbeat(run: Run, **progress: Any) -> bool:
        Run.objects.filter(id=run.id).update(**progress)
        return False

    ledger.heartbeat = heartbeat


GUARDS = {"unique key": _unique_slots, "fence": _fence}
