"""The times of the engine, shorter: many kills then fit into an hour.

They are constants of its modules and not settings: an operator who sets a lease shorter than a pause
of the machine would lose runs. So the harness sets them from outside, in each of its processes, wherever a
module holds one of these names.
"""

import os
from datetime import timedelta
from importlib import import_module

#: Everything that waits for a death or for a lost message, in seconds, by module of maintenance.core:
#: a tenth of production, where starting a process and connecting take no longer than that anyway.
SCALED = {
    "runs.ledger": {"LEASE_SECONDS": 3.0, "HEARTBEAT_SECONDS": 0.5},
    "runs.dispatch": {
        "UNCONFIRMED_SECONDS": 1.0,
        "REPUBLISH_SECONDS": 60.0,
        "UNKNOWN_TASK_SECONDS": 8.0,
    },
    "scheduling.leadership": {"LEASE_SECONDS": 3.0, "HANGING_SECONDS": 2.5, "LOCK_SECONDS": 0.5},
    "runs.lost_messages": {"HELD_SECONDS": 2.0},
    "scheduling.scheduler": {"MEND_SECONDS": 1.5, "BROKER_AWAY_SECONDS": 1.0, "LOOK_SECONDS": 0.5},
}


def scale() -> None:
    """Set the times of this process. Raises ``LookupError`` for one that its module has no more."""
    if day_seconds := os.environ.get("FAULTS_DAY_SECONDS"):
        _set("runs.retention", "DAY", timedelta(seconds=float(day_seconds)))
    if os.environ.get("FAULTS_TIMES") != "scaled":
        return
    for name, times in SCALED.items():
        for constant, seconds in times.items():
            _set(name, constant, seconds)


def _set(name: str, constant: str, value: float | timedelta) -> None:
    module = import_module(f"maintenance.core.{name}")
    if not hasattr(module, constant):
        raise LookupError(f"{module.__name__} has no {constant} any more.")
    setattr(module, constant, value)
