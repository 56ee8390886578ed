"""The subcommands of ``manage.py maintenance``, one file each."""

from maintenance.commands.crew import (
    attach,
    calendar,
    cancel,
    completion,
    config,
    diagnose,
    doctor,
    findings,
    list_tasks,
    notify,
    proof,
    recommend,
    reports,
    run_task,
    runs,
    schedules,
    tail,
)
from maintenance.commands.crew.subcommand import Subcommand

SUBCOMMANDS: tuple[Subcommand, ...] = (
    list_tasks.SUBCOMMAND,
    run_task.SUBCOMMAND,
    run_task.PLAN,
    runs.SUBCOMMAND,
    cancel.SUBCOMMAND,
    tail.SUBCOMMAND,
    reports.REPORT,
    reports.SUBCOMMAND,
    findings.SUBCOMMAND,
    findings.MUTE,
    findings.UNMUTE,
    notify.SUBCOMMAND,
    schedules.SUBCOMMAND,
    calendar.SUBCOMMAND,
    proof.SUBCOMMAND,
    recommend.SUBCOMMAND,
    diagnose.SUBCOMMAND,
    attach.SUBCOMMAND,
    doctor.SUBCOMMAND,
    config.SUBCOMMAND,
    completion.SUBCOMMAND,
)

__all__ = ["SUBCOMMANDS", "Subcommand"]
