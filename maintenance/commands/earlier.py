"""What earlier runs left, for commands: as much of it as the ledger gives."""

from collections.abc import Callable
from typing import TypeVar

from django.db import DatabaseError, InterfaceError

from maintenance.commands.errors import explained
from maintenance.core.history import LedgerRuns
from maintenance.core.job import EarlierRuns, Job, NoEarlierRuns
from maintenance.core.redaction import redact

TargetT = TypeVar("TargetT")
OptionsT = TypeVar("OptionsT")


def earlier_runs(note: Callable[[str], None]) -> EarlierRuns:
    """Return what the ledger knows; nothing, and a ``note`` that says so, where it is away.

    A command stores nothing itself, so that a look by hand does not move the window of the next
    scheduled run.
    """
    runs = LedgerRuns()
    try:
        runs.history("").series("")
    except (DatabaseError, InterfaceError) as error:
        reason = explained(error) or redact(" ".join(str(error).split()))
        note(f"Nothing is compared with earlier runs. {reason}")
        return NoEarlierRuns()
    return runs


def job_after(
    earlier: EarlierRuns, task: str, target_name: str, target: TargetT, options: OptionsT
) -> Job[TargetT, OptionsT]:
    """Return the job that a run of ``task`` would get now."""
    return Job(
        target_name,
        target,
        options,
        previous_state=earlier.previous_state(task, target_name),
        history=earlier.history(target_name),
    )
