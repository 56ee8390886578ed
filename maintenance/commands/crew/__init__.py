"""The subcommands of ``manage.py maintenance``, one file each."""

from maintenance.commands.crew import (
    calendar,
    cancel,
    diagnose,
    list_tasks,
    proof,
    recommend,
    reports,
    run_task,
    runs,
    schedules,
)
from maintenance.commands.crew.subcommand import Subcommand

SUBCOMMANDS: tuple[Subcommand, ...] = (
    list_tasks.SUBCOMMAND,
    run_task.SUBCOMMAND,
    runs.SUBCOMMAND,
    cancel.SUBCOMMAND,
    reports.SUBCOMMAND,
    schedules.SUBCOMMAND,
    calendar.SUBCOMMAND,
    proof.SUBCOMMAND,
    recommend.SUBCOMMAND,
    diagnose.SUBCOMMAND,
)

__all__ = ["SUBCOMMANDS", "Subcommand"]
