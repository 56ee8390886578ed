"""``maintenance schedules``: what runs when, and where an operator's rows differ from the code."""

import argparse
from collections.abc import Sequence
from datetime import datetime
from typing import Any

from django.utils import timezone

from maintenance.commands.arguments import OutputChoice, add_output_arguments
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.find_runs import SHOWN_CHARACTERS
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.exit_codes import ExitCode
from maintenance.commands.listing import Item, Listing, Row, sign
from maintenance.conf import configuration
from maintenance.core.reports import Table
from maintenance.core.scheduling.schedule_sync import NAME_PREFIX, Difference, differences
from maintenance.core.scheduling.timetable import Entry, timetable
from maintenance.reports.formatting import counted, format_time


def list_schedules(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print the timetable, next first, and the differences from the code."""
    choice = OutputChoice.of(options)
    now = timezone.now()
    entries = list(timetable(now))
    differing = differences(configuration())
    listing = Listing(
        title="Schedules",
        summary=_summary(entries, differing, now),
        rows=[_row(entry, differing, now) for entry in entries],
        item=_item,
        more=_differences_table(differing),
    )
    command.publish_listing(listing, choice)
    return ExitCode.HEALTHY


def _summary(entries: Sequence[Entry], differing: Sequence[Difference], now: datetime) -> str:
    if not entries:
        return "There is no schedule yet; write them with: python manage.py sync_schedules"
    on = [entry for entry in entries if entry.enabled]
    words = f"{counted(len(entries), 'schedule')}, {len(entries) - len(on)} off"
    following = next((e for e in on if e.next_due_at and e.next_due_at >= now), None)
    if following is not None and following.next_due_at is not None:
        words += f"; next is {following.short_name} at {following.next_due_at:%Y-%m-%d %H:%M %Z}"
    absent = [d for d in differing if d.field == "row"]
    if differing:
        words += f"; {counted(len(differing), 'difference')} from the code"
    if absent:
        names = ", ".join(d.schedule.removeprefix(NAME_PREFIX) for d in absent)
        words += f". Without a row: {names}"
    return f"{words}."


def _row(entry: Entry, differing: Sequence[Difference], now: datetime) -> dict[str, Any]:
    last = entry.last_run
    overdue = entry.overdue_seconds(now)
    changed = [d for d in differing if d.schedule == entry.name]
    return {
        "schedule": entry.short_name,
        "when": entry.when,
        "on": entry.enabled,
        "next_at": entry.next_due_at.isoformat() if entry.next_due_at else None,
        "overdue_seconds": round(overdue) if overdue else None,
        "last_run_id": str(last.id) if last else None,
        "last_state": last.state if last else None,
        "last_worst": last.severity if last else None,
        "last_verdict": (last.summary or last.reason) if last else None,
        "changed": ", ".join(f"{d.field} (in the code: {d.in_code})" for d in changed),
    }


def _item(row: Row) -> Item:
    mark = sign(row["last_state"] or "", row["last_worst"] or "") if row["on"] else "[--]"
    details = [row["when"], _next(row)]
    if row["last_state"]:
        run = row["last_run_id"][:SHOWN_CHARACTERS]
        details.append(f"last: {row['last_state']} ({run}): {row['last_verdict']}")
    if row["changed"]:
        details.append(f"differs from the code: {row['changed']}")
    return Item(f"{mark:4} {row['schedule']}", tuple(details))


def _next(row: Row) -> str:
    if row["next_at"] is None:
        return "off" if not row["on"] else "never due again"
    at = format_time(timezone.localtime(datetime.fromisoformat(row["next_at"])))
    if row["overdue_seconds"]:
        return f"overdue since {at}: is beat running?"
    return f"next {at}"


def _differences_table(differing: Sequence[Difference]) -> tuple[Table, ...]:
    rows = [
        {
            "schedule": difference.schedule.removeprefix(NAME_PREFIX),
            "field": difference.field,
            "in_code": difference.in_code,
            "in_row": difference.in_row,
        }
        for difference in differing
    ]
    return (Table.of("Differences from the code", rows),) if rows else ()


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    add_output_arguments(parser)


SUBCOMMAND = Subcommand(
    "schedules",
    "What runs when, the last results, and differences from the code.",
    _add_arguments,
    list_schedules,
)
