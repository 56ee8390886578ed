"""Appointments as iCalendar (RFC 5545), for the calendars of people. Pure.

A library would bring more than it saves: of the standard this is a page. Times are in UTC, so that no
time zone has to be described. The same slot has the same UID in every file, so that a calendar which
reads a newer one moves its entries and doubles none.
"""

import hashlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime

from maintenance.core.scheduling.calendar import Appointment
from maintenance.reports.formatting import format_seconds

#: RFC 5545, 3.1: a line "SHOULD NOT be longer than 75 octets, excluding the line break".
_OCTETS_A_LINE = 75


def render_ics(found: Iterable[Appointment], now: datetime, description: str = "") -> str:
    """Return the runs as a calendar; slots that have no run of their own are left out.

    A run of unknown length is a moment. ``now`` is when the calendar was made; ``description`` says of the
    whole what its reader must know.
    """
    return "".join(f"{_folded(line)}\r\n" for line in _calendar(found, now, description))


def _calendar(found: Iterable[Appointment], now: datetime, description: str) -> Iterator[str]:
    yield "BEGIN:VCALENDAR"
    yield "VERSION:2.0"
    yield "PRODID:-//celery-maintenance//calendar//EN"
    yield "CALSCALE:GREGORIAN"
    yield "METHOD:PUBLISH"
    yield "X-WR-CALNAME:Maintenance"
    if description:
        yield f"X-WR-CALDESC:{_text(description)}"
    for appointment in found:
        if appointment.begins_at is not None and not appointment.plan.idle:
            yield from _event(appointment, appointment.begins_at, now)
    yield "END:VCALENDAR"


def _event(appointment: Appointment, begins: datetime, now: datetime) -> Iterator[str]:
    plan = appointment.plan
    yield "BEGIN:VEVENT"
    yield f"UID:{_uid(appointment)}"
    yield f"DTSTAMP:{_moment(now)}"
    yield f"DTSTART:{_moment(begins)}"
    # "MUST be later in time than the value of DTSTART" (3.8.2.2), in whole seconds.
    ends = appointment.ends_at
    if ends is not None and _moment(ends) > _moment(begins):
        yield f"DTEND:{_moment(ends)}"
    yield f"SUMMARY:{_text(plan.name)}"
    details = [f"Due at {appointment.due_at.astimezone(UTC):%Y-%m-%d %H:%M} UTC."]
    if plan.seconds is not None:
        details.append(f"Usually takes {format_seconds(plan.seconds)}.")
    if appointment.remark:
        details.append(f"{appointment.remark[0].upper()}{appointment.remark[1:]}.")
    yield f"DESCRIPTION:{_text(' '.join(details))}"
    if plan.target:
        yield f"LOCATION:{_text(plan.target)}"
    yield "TRANSP:TRANSPARENT"  # nobody is busy with it
    yield "END:VEVENT"


def _uid(appointment: Appointment) -> str:
    plan = appointment.plan
    slot = f"{plan.schedule or plan.name}\n{plan.target}\n{_moment(appointment.due_at)}"
    return f"{hashlib.sha256(slot.encode()).hexdigest()[:32]}@celery-maintenance"


def _moment(at: datetime) -> str:
    return f"{at.astimezone(UTC):%Y%m%dT%H%M%SZ}"


def _text(value: str) -> str:
    """Escape a TEXT value (RFC 5545, 3.3.11); other control characters have no place in one."""
    for plain, escaped in (("\\", "\\\\"), (";", "\\;"), (",", "\\,"), ("\r\n", "\n")):
        value = value.replace(plain, escaped)
    value = value.replace("\n", "\\n").replace("\t", " ")
    return "".join(character for character in value if character.isprintable())


def _folded(line: str) -> str:
    """Break a long line (RFC 5545, 3.1), between characters and not within one."""
    if len(line.encode()) <= _OCTETS_A_LINE:
        return line
    parts, part, octets = list[str](), "", 0
    for character in line:
        size = len(character.encode())
        if octets + size > _OCTETS_A_LINE:
            parts.append(part)
            part, octets = "", 1  # the space that the next line begins with
        part += character
        octets += size
    return "\r\n ".join([*parts, part])
