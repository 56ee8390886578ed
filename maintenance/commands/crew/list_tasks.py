"""``maintenance list``: what the crew can do."""

import argparse
from typing import Any

from maintenance.commands.arguments import OutputChoice, add_output_arguments
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.exit_codes import ExitCode
from maintenance.commands.listing import Item, Listing, Row
from maintenance.core.runs.registry import TargetKind, TaskSpec, all_tasks
from maintenance.core.scheduling.timetable import cron_in_words
from maintenance.reports.formatting import counted
from maintenance.schedules import CHECKLISTS


def list_tasks(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print every task with its queue, its kind of target and its schedules in words."""
    choice = OutputChoice.of(options)
    tasks = all_tasks()
    writing = sum(task.writes for task in tasks)
    dangerous = sum(task.dangerous is not None for task in tasks)
    summary = (
        f"{counted(len(tasks), 'task')}, of which {writing} change their target, {dangerous} of them"
        " only where it allows them (setting allow)."
    )
    command.publish_listing(
        Listing("Tasks", summary, [_row(task) for task in tasks], _item), choice
    )
    return ExitCode.HEALTHY


def _row(task: TaskSpec) -> dict[str, Any]:
    return {
        "task": task.short_name,
        "queue": task.queue,
        "target": task.target_kind.value,
        "writes": task.writes,
        "allow": task.dangerous or "",
        "schedule": "; ".join(_schedules(task)) or "by hand",
        "summary": task.summary,
    }


def _item(row: Row) -> Item:
    mode = "writes" if row["writes"] else "reads"
    if row["allow"]:
        mode += f", where allow has {row['allow']}"
    target = "" if row["target"] == TargetKind.NONE else f", on a {row['target']}"
    head = f"{row['task']:32}  {row['queue']} queue, {mode}{target}"
    return Item(head, (row["summary"], row["schedule"]))


def _schedules(task: TaskSpec) -> list[str]:
    return [
        f"{checklist}: {cron_in_words(schedule.cron)}"
        for checklist, schedules in CHECKLISTS.items()
        for schedule in schedules
        if schedule.task == task.short_name
    ]


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output_arguments(parser)


SUBCOMMAND = Subcommand(
    "list", "Every task: queue, target, whether it writes, schedule.", _add_arguments, list_tasks
)
