"""``maintenance proof``: every slot that was due, and whether it ran, was skipped and why, or was lost."""

import argparse
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from django.utils import timezone

from maintenance.commands.arguments import OutputChoice, add_output_arguments, moment
from maintenance.commands.base import MaintenanceCommand
from maintenance.commands.crew.subcommand import Subcommand
from maintenance.commands.exit_codes import ExitCode
from maintenance.conf import configuration
from maintenance.core.errors import InvalidOptions
from maintenance.core.findings import Finding, Severity, unavailable
from maintenance.core.ledger_clock import ledger_now
from maintenance.core.proof_report import Tally, slot_fields
from maintenance.core.schedule_sync import NAME_PREFIX
from maintenance.core.slot_history import (
    UNSETTLED_SECONDS,
    recorded_since,
    slot_histories,
    unversioned_runs,
)
from maintenance.reports.csv_format import RowWriter
from maintenance.reports.publication import of_report

DAYS = 30
_COLUMNS = ("due_at", "schedule", "target", "verdict", "late_seconds", "state", "reason", "run_id")

Write = Callable[[Mapping[str, Any]], None]


def prove_slots(command: MaintenanceCommand, options: dict[str, Any]) -> ExitCode:
    """Print the sums, what was not on time, and each schedule; write all slots where asked to."""
    choice = OutputChoice.of(options)
    now = ledger_now()
    since, until, notes = _span(options, now)
    zone = timezone.get_current_timezone()
    tally = Tally(zone)
    pattern = options["schedule"]

    def fits(schedule: str) -> bool:
        return fnmatchcase(schedule.removeprefix(NAME_PREFIX), pattern)

    with _export(options["slots"]) as write:
        for history in slot_histories(since, until, now, fits=fits):
            name = history.schedule.removeprefix(NAME_PREFIX)
            tally.begin(name, history.fault)
            for slot in history.slots:
                tally.add(name, slot)
                write(slot_fields(name, slot, zone))
    if pattern == "*":
        notes += tuple(_unversioned(since, until))
    report = tally.report(since, until, notes)
    command.publish(of_report(report), choice)
    if options["slots"]:
        command.note(f"Every slot is written to {options['slots']}.")
    return ExitCode.FINDINGS if tally.missing else ExitCode.HEALTHY


def _span(options: dict[str, Any], now: datetime) -> tuple[datetime, datetime, tuple[Finding, ...]]:
    """Return what time can be proved of the one that was asked for, and what is left out of it.

    Raises ``InvalidOptions`` where nothing is left.
    """
    last = now - timedelta(seconds=UNSETTLED_SECONDS)
    until = min(options["until"] or last, last)
    asked = options["since"] or now - timedelta(days=DAYS)
    days = configuration().reports.retention_days
    first = recorded_since()
    kept_since = now - timedelta(days=days)
    since, notes = asked, []
    if since < kept_since:
        since = kept_since
        notes.append(
            _unproved(since, "rows that the retention has removed since (reports.retention_days)")
        )
    if first is None:
        raise InvalidOptions(
            "No scheduler has recorded any schedule yet, so there is nothing to prove."
            " Start beat; the record begins with its first look."
        )
    if since < first:
        since = first
        notes.append(_unproved(since, "versions of schedules, which a scheduler records"))
    if until <= since:
        raise InvalidOptions(
            f"There is no time to prove between {timezone.localtime(since):%Y-%m-%d %H:%M} and"
            f" {timezone.localtime(until):%Y-%m-%d %H:%M}: give an earlier --since, or a later --until."
        )
    return since, until, tuple(notes)


def _unproved(since: datetime, needs: str) -> Finding:
    what = f"the proof of slots before {timezone.localtime(since):%Y-%m-%d %H:%M %Z}"
    return unavailable("slots-unproved", "schedules", what, needs)


def _unversioned(since: datetime, until: datetime) -> Iterator[Finding]:
    count = unversioned_runs(since, until)
    if count:
        yield Finding(
            code="slots-unversioned",
            severity=Severity.WARNING,
            subject="schedules",
            sentence=f"{count:,} runs of slots belong to schedules that no version describes.",
            evidence={"runs": count},
            advice="Let every beat use maintenance.core.scheduler:LedgerScheduler.",
        )


@contextmanager
def _export(path: str | None) -> Iterator[Write]:
    """Give a way to write each slot to a CSV file, or nowhere. Raises ``InvalidOptions``."""
    if path is None:
        yield lambda _row: None
        return
    try:
        with Path(path).open("w", encoding="utf-8", newline="") as stream:
            yield RowWriter(stream, _COLUMNS).write
    except OSError as error:
        raise InvalidOptions(
            f"The slots cannot be written to {path}: {error.strerror}."
            " Make room or give another --slots."
        ) from None


def _add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--since", type=moment, metavar="TIME", help=f"From then on; default {DAYS} days ago."
    )
    parser.add_argument("--until", type=moment, metavar="TIME", help="Up to then; default now.")
    parser.add_argument(
        "--schedule",
        default="*",
        metavar="PATTERN",
        help='Only schedules whose name fits, such as "daily *".',
    )
    parser.add_argument(
        "--slots", metavar="FILE", help="Write every slot to FILE as CSV, a line each."
    )
    add_output_arguments(parser)


SUBCOMMAND = Subcommand(
    "proof",
    "Every slot that was due: did it run, how late, was it skipped and why, or lost. Exits 1 if any is.",
    _add_arguments,
    prove_slots,
)
