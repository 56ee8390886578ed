"""``maintenance schedules``: what runs when, and where an operator's rows differ from the code."""

import argparse
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.utils import timezone

from maintenance.commands.arguments import OutputChoice, add_output_arguments
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.find_runs import short_id
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.exit_codes import ExitCode
from maintenance.conf import configuration
from maintenance.core.reports import Report, Table
from maintenance.core.schedule_sync import NAME_PREFIX, Difference, differences
from maintenance.core.timetable import Entry, timetable
from maintenance.reports.formatting import counted
from maintenance.reports.publication import of_report


def list_schedules(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print the timetable, next first, and the differences from the code."""
    choice = OutputChoice.of(options)
    now = timezone.now()
    entries = list(timetable(now))
    differing = differences(configuration())
    tables = [Table.of("Next first", [_row(entry, now) for entry in entries])] if entries else []
    if differing:
        rows = [_difference(difference) for difference in differing]
        tables.append(Table.of("Differences from the code", rows))
    report = Report("Schedules", _summary(entries, differing, now), tables=tuple(tables))
    command.publish(of_report(report), choice)
    return ExitCode.HEALTHY


def _summary(entries: Sequence[Entry], differing: Sequence[Difference], now: datetime) -> str:
    if not entries:
        return "There is no schedule yet; write them with: python manage.py sync_schedules"
    on = [entry for entry in entries if entry.enabled]
    words = f"{counted(len(entries), 'schedule')}, {len(entries) - len(on)} off"
    following = next((e for e in on if e.next_due_at and e.next_due_at >= now), None)
    if following is not None and following.next_due_at is not None:
        words += f"; next is {following.short_name} at {following.next_due_at:%Y-%m-%d %H:%M %Z}"
    if differing:
        words += f"; {counted(len(differing), 'difference')} from the code"
    return f"{words}."


def _row(entry: Entry, now: datetime) -> dict[str, Any]:
    last = entry.last_run
    overdue = entry.overdue_seconds(now)
    return {
        "schedule": entry.short_name,
        "when": entry.when,
        "on": entry.enabled,
        "next_at": entry.next_due_at.isoformat() if entry.next_due_at else None,
        "overdue_seconds": round(overdue) if overdue else None,
        "last": f"{last.state} ({short_id(last)})" if last else None,
        "last_verdict": (last.summary or last.reason) if last else None,
    }


def _difference(difference: Difference) -> dict[str, Any]:
    return {
        "schedule": difference.schedule.removeprefix(NAME_PREFIX),
        "field": difference.field,
        "in_code": difference.in_code,
        "in_row": difference.in_row,
    }


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output_arguments(parser)


SUBCOMMAND = Subcommand(
    "schedules",
    "What runs when, the last results, and differences from the code.",
    _add_arguments,
    list_schedules,
)
