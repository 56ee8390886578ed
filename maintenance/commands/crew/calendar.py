"""``maintenance calendar``: what will run when, how long it takes, and where it meets something."""

import argparse
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from maintenance.commands.arguments import OutputChoice, add_output_arguments, moment
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.exit_codes import ExitCode
from maintenance.commands.listing import Item, Listing, Row
from maintenance.conf import configuration
from maintenance.core.errors import InvalidOptions
from maintenance.core.reports import Table
from maintenance.core.scheduling.calendar import (
    Appointment,
    Meeting,
    Planned,
    Span,
    appointments,
    meetings,
)
from maintenance.core.scheduling.planned import coming_closures, is_frequent, planned_schedules
from maintenance.core.wording import listed
from maintenance.reports.formatting import counted, format_seconds, format_time
from maintenance.reports.ics import render_ics

MOST_DAYS = 3660


def show_calendar(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print the runs of the coming days, first to last, and which schedules meet."""
    choice = OutputChoice.of(options)
    since = timezone.now()
    until = since + timedelta(days=options["days"])
    plans, frequent = list[Planned](), list[Planned]()
    for plan in planned_schedules(configuration()):
        (frequent if is_frequent(plan, since) else plans).append(plan)
    closures = coming_closures(since, until)
    outage = _outage(options["down"])
    found = appointments(plans, since, until, closures=closures, outage=outage)
    met = meetings(found)
    if options["ics"]:
        body = render_ics(found, since, _left_out(frequent).strip())
        command.publish_body(body, _summary(found, met, len(plans), options["days"]), choice)
        return ExitCode.HEALTHY
    listing = Listing(
        title="Calendar",
        summary=_summary(found, met, len(plans), options["days"]) + _left_out(frequent),
        rows=[_row(appointment) for appointment in found],
        item=_item,
        more=_meetings_table(met),
    )
    command.publish_listing(listing, choice)
    return ExitCode.HEALTHY


def _summary(
    found: Sequence[Appointment], met: Sequence[Meeting], schedules: int, days: int
) -> str:
    if not found:
        return f"Nothing is due within {counted(days, 'day')}."
    running = [a for a in found if a.begins_at is not None]
    words = f"{counted(len(running), 'run')} of {counted(schedules, 'schedule')} within {counted(days, 'day')}"
    unusual = sum(bool(a.remark) for a in found)
    if unusual:
        words += f"; {unusual} with a remark"
    if met:
        first = met[0]
        words += (
            f"; {counted(len(met), 'pair')} of schedules meet on a target, most often"
            f" {first.first.name} and {first.second.name} ({counted(first.times, 'time')})"
        )
    return f"{words}."


def _left_out(frequent: Sequence[Planned]) -> str:
    if not frequent:
        return ""
    names = listed([plan.name for plan in frequent])
    return f" Due more often than each hour, and left out: {names}."


def _row(appointment: Appointment) -> dict[str, Any]:
    begins = appointment.begins_at
    return {
        "begins_at": begins.isoformat() if begins else None,
        "due_at": appointment.due_at.isoformat(),
        "schedule": appointment.plan.name,
        "takes_seconds": appointment.plan.seconds,
        "remark": appointment.remark,
    }


def _item(row: Row) -> Item:
    at = timezone.localtime(datetime.fromisoformat(row["begins_at"] or row["due_at"]))
    seconds = row["takes_seconds"]
    takes = f"  takes {format_seconds(seconds)}" if seconds is not None else ""
    mark = "    " if row["begins_at"] else "[--]"
    details = (row["remark"],) if row["remark"] else ()
    return Item(f"{mark} {at:%a} {format_time(at)}  {row['schedule']}{takes}", details)


def _meetings_table(met: Sequence[Meeting]) -> tuple[Table, ...]:
    rows = [
        {
            "target": meeting.first.target,
            "at_work": meeting.first.name,
            "begins_beside_it": meeting.second.name,
            "times": meeting.times,
            "first_at": meeting.at.isoformat(),
        }
        for meeting in met
    ]
    return (Table.of("Schedules that meet on a target", rows),) if rows else ()


def _outage(given: Sequence[datetime] | None) -> Span | None:
    """Return the time of ``--down``. Raises ``InvalidOptions``."""
    if not given:
        return None
    start, end = given
    if end <= start:
        raise InvalidOptions(
            "The outage of --down ends before it begins: give its start, then its end."
        )
    return start, end


def _days(text: str) -> int:
    days = int(text)
    if not 1 <= days <= MOST_DAYS:
        raise argparse.ArgumentTypeError(f"must be from 1 to {MOST_DAYS}")
    return days


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--days", type=_days, default=7, help="how far to look ahead (7)")
    parser.add_argument(
        "--down",
        nargs=2,
        type=moment,
        metavar=("FROM", "TO"),
        help="what if nothing is sent between these times, such as 2026-11-29 2026-11-30",
    )
    parser.add_argument(
        "--ics",
        action="store_true",
        help="As iCalendar (RFC 5545), for the calendar of a person; --format does not matter.",
    )
    add_output_arguments(parser)


SUBCOMMAND = Subcommand(
    "calendar",
    "What will run when, how long it takes, and what meets on a target.",
    _add_arguments,
    show_calendar,
)
