"""The table of addresses that ``up`` shows when everything runs."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from django.utils import timezone
from rich.table import Table
from rich.text import Text

from maintenance.core.redaction import address_of
from maintenance.core.scheduling.timetable import timetable
from service.embedded.state import STATE_SETTING
from service.up.programs import FLOWER_USER

NEXT_RUNS = 3


@dataclass(frozen=True, slots=True)
class Place:
    """One line of the table. ``login`` is what a person types there, password included."""

    what: str
    where: str
    login: str = ""


def command_places(state: Path, usual: Path) -> list[Place]:
    """Say how commands find a service whose state lies in another folder than they look in."""
    if state == usual:
        return []
    return [Place("For commands", f"export {STATE_SETTING}={shlex.quote(str(state))}")]


def web_places(
    web_port: int, admin_login: str, flower_port: int, flower_password: str
) -> list[Place]:
    """Return the pages that a browser opens."""
    return [
        Place("Admin", f"http://127.0.0.1:{web_port}/admin/", admin_login),
        Place("Flower", f"http://127.0.0.1:{flower_port}/", f"{FLOWER_USER} / {flower_password}"),
    ]


def server_places(environment: Sequence[tuple[str, str]]) -> list[Place]:
    """Return servers from pairs of a word and a URL, without passwords."""
    return [Place(what, address_of(url)) for what, url in environment if url]


def next_runs(count: int = NEXT_RUNS) -> list[Place]:
    """Return the schedules that are due next."""
    now = timezone.now()
    entries = [entry for entry in timetable(now) if entry.enabled and entry.next_due_at is not None]
    return [
        Place(
            "Next run" if position == 0 else "", _due_line(entry.next_due_at, now), entry.short_name
        )
        for position, entry in enumerate(entries[:count])
        if entry.next_due_at is not None
    ]


def _due_line(due_at: datetime, now: datetime) -> str:
    return f"{due_at:%a %Y-%m-%d %H:%M %Z} ({_in_words((due_at - now).total_seconds())})"


def _in_words(seconds: float) -> str:
    if seconds <= 0:
        return "now"
    minutes, hours, days = round(seconds / 60), seconds / 3600, seconds / 86_400
    if minutes < 1:
        return "within a minute"
    if minutes < 120:
        return f"in {minutes} min"
    return f"in {hours:.0f} h" if hours < 48 else f"in {days:.0f} days"


def address_table(places: Sequence[Place]) -> Table:
    """Return the table; no cell is cut, since half an address is none."""
    table = Table(title="Maintenance is at work; Ctrl-C ends it", title_justify="left")
    for heading in ("What", "Where", "Login or task"):
        table.add_column(heading, overflow="fold")
    for place in places:
        table.add_row(Text(place.what), Text(place.where), Text(place.login))
    return table
